"""What stands on the engine is read from plain texts where it can be."""

import socket

from topologies.engine import listeners, listening

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:32D2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
"""


def test_only_listening_sockets_count_not_connections() -> None:
    assert listeners(TABLE) == {0x32D2}


def test_a_port_on_which_this_machine_listens_is_found_and_a_free_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listening([port]) == {port}
    assert listening([port]) == frozenset()
