"""Prints HTTP requests and answers of a savefile, reassembled: python tcp_streams.py FILE"""

from __future__ import annotations

import sys

from scapy.layers.http import HTTPRequest, HTTPResponse
from scapy.sendrecv import sniff
from scapy.sessions import TCPSession

import pypcapzc.scapy


def main(path: str) -> None:
    """Print them."""
    pypcapzc.scapy.enable()
    for packet in sniff(offline=path, filter="tcp", session=TCPSession):
        if HTTPRequest in packet:
            request = packet[HTTPRequest]
            print(request.Method.decode(), request.Path.decode())
        elif HTTPResponse in packet:
            print(
                "   ", packet[HTTPResponse].Status_Code.decode(), len(packet[HTTPResponse].payload), "bytes"
            )


if __name__ == "__main__":
    main(sys.argv[1])
