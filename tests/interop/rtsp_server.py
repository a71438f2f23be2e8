"""A real RTSP server for the tests; runs under the system's Python, which has GStreamer's bindings.

usage: rtsp_server.py FILE.mkv [--login] [--port=8554]     (H.264 pictures; sound of any codec; any free port)

Prints its port, then serves until stdin closes:
  /av      the file: H.264 + AAC      /opus  the same with Opus      /pcmu  the same with G.711
  /camera  live test pattern, no sound
  /freeze  like /pcmu, but no media after 3 s although the connection stays
Any other path is a 404. With --login everything needs user "viewer" and password "s3cret".
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

SOUND = {
    "av": "avenc_aac ! aacparse ! rtpmp4gpay name=pay1 pt=97",
    "opus": "opusenc ! rtpopuspay name=pay1 pt=97",
    "pcmu": "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0",
}


def launch(path: str, sound: str) -> str:
    return (
        f'( filesrc location="{path}" ! matroskademux name=in '
        "in.video_0 ! queue max-size-time=3000000000 ! h264parse config-interval=1 ! identity name=gate0 ! rtph264pay name=pay0 pt=96 "
        "in.audio_0 ! queue max-size-time=3000000000 ! decodebin ! audioconvert ! audioresample ! identity name=gate1 "
        f"! {SOUND[sound]} )"
    )


CAMERA = (
    "( videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 )"
)


def close_gates(factory, media) -> None:
    def close() -> bool:
        for name in ("gate0", "gate1"):
            media.get_element().get_by_name(name).set_property("drop-probability", 1.0)
        return False

    GLib.timeout_add_seconds(3, close)


def factory_of(description: str) -> GstRtspServer.RTSPMediaFactory:
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(description)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role("viewer")
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)
    return factory


def login() -> GstRtspServer.RTSPAuth:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic("viewer", "s3cret"), token)
    return auth


def main(path: str, *options: str) -> None:
    loop = GLib.MainLoop()
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(next((option[7:] for option in options if option.startswith("--port=")), "0"))
    if "--login" in options:
        server.set_auth(login())
    mounts = server.get_mount_points()
    for sound in SOUND:
        mounts.add_factory(f"/{sound}", factory_of(launch(path, sound)))
    mounts.add_factory("/camera", factory_of(CAMERA))
    freezing = factory_of(launch(path, "pcmu"))
    freezing.connect("media-configure", close_gates)
    mounts.add_factory("/freeze", freezing)
    server.attach(None)
    GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, lambda *_: loop.quit())
    print(server.get_bound_port(), flush=True)
    loop.run()


if __name__ == "__main__":
    Gst.init(None)
    main(*sys.argv[1:])
