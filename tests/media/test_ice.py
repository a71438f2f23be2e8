"""ICE after the offer: fragments as text, and a call that goes on over a new way when its old one is replaced."""

import asyncio

import pytest
from aioice import Candidate, Connection

from monitor.errors import SourceError
from monitor.media import AudioChunk
from monitor.sources.ice import Ice
from monitor.sources.sdpfrag import Fragment, parse_fragment
from tests.media.publisher import Listener, Microphone, publish

HOST = "1 1 udp 2130706431 192.0.2.7 54321 typ host"


def test_a_fragment_is_read_and_written():
    fragment = Fragment("abcd", "0123456789012345678901", (("0", HOST),), complete=True)
    assert parse_fragment(fragment.text()) == fragment
    later = Fragment(None, None, (("v", HOST),), complete=False)
    assert parse_fragment(later.text(mid="v")) == later
    browsers = f"a=ice-ufrag:EsAw\r\na=ice-pwd:P2uY\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:{HOST} generation 0\r\n"
    assert parse_fragment(browsers) == Fragment("EsAw", "P2uY", (("0", f"{HOST} generation 0"),), complete=False)


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "a=ice-ufrag:abcd",
        "a=ice-ufrag:ab cd\na=ice-pwd:x",
        "a=ice-ufrag:ab\na=ice-pwd:x\na=ice-ufrag:cd",
        f"a=candidate:{HOST}\n" * 65,
        "a=\x00",
    ],
)
def test_what_is_no_fragment_is_refused_in_one_line(text):
    with pytest.raises(SourceError) as caught:
        parse_fragment(text)
    assert "\n" not in str(caught.value)


async def test_sound_goes_on_over_a_restarted_connection():
    """The publisher's side of the restart is what a browser does; aiortc knows none, so the test does it with our own switch."""
    start_s = asyncio.get_running_loop().time() + 0.2
    peer, source = await publish(Microphone(start_s))
    listener = Listener(source)
    await listener.until(lambda: len(listener.of(AudioChunk)) >= 10)
    theirs = Ice(peer, [], lambda: None)
    old = theirs._transport._connection
    new = Connection(ice_controlling=True)
    await new.gather_candidates()
    told = Fragment(new.local_username, new.local_password, tuple(("0", one.to_sdp()) for one in new.local_candidates), complete=True)
    assert source.is_restart(told)
    ours = await source.trickle(told)
    assert not source.is_restart(told)
    new.remote_username, new.remote_password = ours.ufrag, ours.password
    for _, candidate in ours.candidates:
        await new.add_remote_candidate(Candidate.from_sdp(candidate))
    await new.add_remote_candidate(None)
    await new.connect()
    await theirs._switch(new)
    assert old._nominated == {}
    since = len(listener.items)
    await listener.until(lambda: len(listener.of(AudioChunk, since)) >= 30)
    assert source._ice._transport._connection is source._ice._newest
    await peer.close()
    await listener.end()


async def test_a_restart_that_never_connects_leaves_the_call_as_it_was():
    start_s = asyncio.get_running_loop().time() + 0.2
    peer, source = await publish(Microphone(start_s))
    listener = Listener(source)
    await listener.until(lambda: len(listener.of(AudioChunk)) >= 10)
    await source.trickle(Fragment("abcd", "0123456789012345678901", (("0", HOST),), complete=True))
    with pytest.raises(SourceError, match="no ICE candidate"):
        await source.trickle(Fragment("efgh", "0123456789012345678901", (("0", "what"),), complete=True))
    since = len(listener.items)
    await listener.until(lambda: len(listener.of(AudioChunk, since)) >= 10)
    await peer.close()
    await listener.end()
