"""Ports that are given out stay ours: nobody else is given one between the choice and the start of its server."""

import errno
import socket
import struct
import sys

import pytest

from streams.local.errors import LocalStackError
from streams.local.ports import LOOPBACK, free_port, require_free

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port is only free when it is asked")

IP_LOCAL_PORT_RANGE = 51
"""<linux/in.h>: from which ports the system chooses for this socket. Linux 6.3 or newer."""


def choosing_only(sock: socket.socket, port: int) -> None:
    """Leave the system, which chooses a port for this socket, no other choice."""
    try:
        sock.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=I", port << 16 | port))
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        pytest.skip("this kernel cannot be told from which ports to choose")


def test_a_server_listens_on_its_port_again_and_again() -> None:
    port = free_port()
    for _ in range(2):
        require_free(port, "a server", "")
        with socket.create_server((LOOPBACK, port)) as server, socket.create_connection((LOOPBACK, port)):
            server.accept()[0].close()
            with pytest.raises(LocalStackError):
                require_free(port, "another server", "")


def test_a_port_that_was_given_out_is_not_given_to_anyone_else() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use") as caught:
        other.bind((LOOPBACK, port))
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("reuse", [0, 1])
def test_the_system_does_not_choose_a_port_that_was_given_out(reuse: int) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        choosing_only(other, free_port())
        with pytest.raises(OSError, match="in use"):
            other.bind((LOOPBACK, 0))


def test_a_client_is_not_connected_to_itself_while_its_server_is_down() -> None:
    port = free_port()
    with socket.socket() as client:
        choosing_only(client, port)
        with pytest.raises(OSError, match="annot assign") as caught:
            client.connect((LOOPBACK, port))
        assert caught.value.errno == errno.EADDRNOTAVAIL


def test_without_being_held_a_client_would_be_connected_to_itself() -> None:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    with socket.socket() as client:
        choosing_only(client, port)
        client.connect((LOOPBACK, port))
        assert client.getsockname() == client.getpeername()


def test_ports_are_given_out_once() -> None:
    assert len({free_port() for _ in range(50)}) == 50
