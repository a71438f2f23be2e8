"""The service's address: taken before anything heavy is loaded, so that it is known at once, and a taken port too."""

import errno
import socket

from monitor.config import Server
from monitor.errors import ConfigError


def listen(server: Server) -> socket.socket:
    """A socket on server.host and server.port; connections wait in it until somebody serves. Raises ConfigError."""
    host, port = server.host, server.port
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise ConfigError(_why(host, port, error)) from None


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; stop it, or choose another with --set server.port=0 (any free one)"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs more rights; choose one above 1023, for instance --set server.port=8080"
    return f"cannot listen on {host} port {port} ({error.strerror or 'unknown name'}); check server.host and server.port"
