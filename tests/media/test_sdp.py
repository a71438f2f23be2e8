"""SDPs of real servers, and what no SDP may bring with it."""

import pytest

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.sources.sdp import Media, read_sdp, sdp_on_loopback

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"
JANUS = HEAD + (
    "c=IN IP4 127.0.0.1\r\n"
    "m=audio 5002 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=control:rtsp://10.0.0.1/\r\n"
    "m=video 5004 RTP/AVPF 96 97\r\na=rtpmap:96 H264/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtcp:5010 IN IP4 127.0.0.1\r\n"
    "a=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:97 nack\r\na=ssrc:1 cname:x\r\n"
    "a=pgmpu:data:application/vnd.ms.wms-hdr.asfv1;base64,AAAA\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
)


def test_what_is_read_and_what_ffmpeg_gets() -> None:
    media = read_sdp(JANUS, "call", Ingest())
    assert media == (
        Media("audio", 5002, 5003, "RTP/AVP", 111, ("rtpmap:111 opus/48000/2", "fmtp:111 useinbandfec=1")),
        Media(
            "video", 5004, 5010, "RTP/AVPF", 96,
            ("rtpmap:96 H264/90000", "fmtp:96 packetization-mode=1;profile-level-id=42e01f", "rtcp-fb:96 nack pli"),
        ),
    )  # fmt: skip
    inner = sdp_on_loopback(media, {"audio": 40000, "video": 40002})
    assert "m=audio 40000 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\n" in inner
    assert "m=video 40002 RTP/AVPF 96\r\n" in inner
    assert not [word for word in ("rtsp:", "pgmpu", "ssrc", "192.0.2.1", "5004", "application") if word in inner]
    assert read_sdp(inner, "again", Ingest())[0].attributes == media[0].attributes


def test_shared_ports_static_payload_types_and_bare_line_feeds() -> None:
    text = "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nm=audio 0 RTP/AVP 8\nm=video 7000 RTP/AVP 96\na=rtpmap:96 VP8/90000\na=rtcp-mux\n"
    audio, video = read_sdp(text, "call", Ingest())
    assert (audio.port, audio.rtcp_port, audio.attributes) == (0, 0, ("rtpmap:8 PCMA/8000",))
    assert (video.port, video.rtcp_port) == (7000, None)


def test_what_is_inactive_or_a_second_camera_is_left_out() -> None:
    text = HEAD + "m=audio 5000 RTP/AVP 0\r\na=inactive\r\nm=video 5002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\nm=video 6000 RTP/AVP 0\r\n"
    with pytest.raises(SourceError, match="codec"):
        read_sdp(text, "call", Ingest())  # a second camera is checked like the first
    assert [m.port for m in read_sdp(text.replace("6000 RTP/AVP 0", "6000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000"), "c", Ingest())] == [5002]


BAD = {
    "nothing": ("", "is no SDP"),
    "a page": ("<html>", "is no SDP"),
    "a playlist": ("#EXTM3U\nhttp://10.0.0.1/a.ts\n", "is no SDP"),
    "control letters": (HEAD + "m=audio 5000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\x00\r\n", "is no SDP"),
    "no media": (HEAD, "no audio and no video"),
    "data only": (HEAD + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n", "no audio and no video"),
    "WebRTC": (HEAD + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", "use WHIP"),
    "SRTP": (HEAD + "m=audio 5000 RTP/SAVP 0\r\n", "not received as plain RTP"),
    "raw UDP": (HEAD + "m=video 5000 udp 33\r\n", "not received as plain RTP"),
    "multicast": (HEAD + "m=audio 5000 RTP/AVP 0\r\nc=IN IP4 239.1.2.3/127\r\n", "no multicast"),
    "multicast, IPv6": (HEAD + "m=audio 5000 RTP/AVP 0\r\nc=IN IP6 ff15::101\r\n", "no multicast"),
    "a port too high": (HEAD + "m=audio 65535 RTP/AVP 0\r\n", "below 65535"),
    "a container": (HEAD + "m=video 5000 RTP/AVP 33\r\na=rtpmap:33 MP2T/90000\r\n", "no codec that is known"),
    "an unknown type": (HEAD + "m=video 5000 RTP/AVP 96\r\n", "no codec that is known"),
    "ASF": (HEAD + "m=video 5000 RTP/AVP 96\r\na=rtpmap:96 x-asf-pf/1000\r\n", "no codec that is known"),
    "many tracks": (HEAD + "m=audio 5000 RTP/AVP 0\r\n" * 9, "max_tracks"),
    "a long text": (HEAD + "a=x\r\n" * 20000, "max_sdp_bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_with_one_line(case: str) -> None:
    text, said = BAD[case]
    with pytest.raises(SourceError, match=said) as refused:
        read_sdp(text, "call", Ingest())
    assert str(refused.value).isprintable()
    assert not refused.value.retryable
