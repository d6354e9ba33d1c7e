"""The constants of libpcap's public headers, under their C names.

Link-layer types have modules of their own: datalinks.py (DLT_*) and linktypes.py (LINKTYPE_*).
"""

from __future__ import annotations

import ctypes as _ctypes
import enum as _enum
import sys as _sys

# --- pcap/pcap.h ---------------------------------------------------------------------------------------

PCAP_VERSION_MAJOR = 2  # of the savefile format, not of the library
PCAP_VERSION_MINOR = 4
PCAP_ERRBUF_SIZE = 256


class pcap_direction_t(_enum.IntEnum):  # noqa: N801 - the C name
    """Which packets ``pcap_setdirection`` lets through."""

    PCAP_D_INOUT = 0
    PCAP_D_IN = 1
    PCAP_D_OUT = 2


PCAP_D_INOUT = pcap_direction_t.PCAP_D_INOUT
PCAP_D_IN = pcap_direction_t.PCAP_D_IN
PCAP_D_OUT = pcap_direction_t.PCAP_D_OUT

PCAP_IF_LOOPBACK = 0x00000001
PCAP_IF_UP = 0x00000002
PCAP_IF_RUNNING = 0x00000004
PCAP_IF_WIRELESS = 0x00000008
PCAP_IF_CONNECTION_STATUS = 0x00000030
PCAP_IF_CONNECTION_STATUS_UNKNOWN = 0x00000000
PCAP_IF_CONNECTION_STATUS_CONNECTED = 0x00000010
PCAP_IF_CONNECTION_STATUS_DISCONNECTED = 0x00000020
PCAP_IF_CONNECTION_STATUS_NOT_APPLICABLE = 0x00000030

PCAP_ERROR = -1
PCAP_ERROR_BREAK = -2
PCAP_ERROR_NOT_ACTIVATED = -3
PCAP_ERROR_ACTIVATED = -4
PCAP_ERROR_NO_SUCH_DEVICE = -5
PCAP_ERROR_RFMON_NOTSUP = -6
PCAP_ERROR_NOT_RFMON = -7
PCAP_ERROR_PERM_DENIED = -8
PCAP_ERROR_IFACE_NOT_UP = -9
PCAP_ERROR_CANTSET_TSTAMP_TYPE = -10
PCAP_ERROR_PROMISC_PERM_DENIED = -11
PCAP_ERROR_TSTAMP_PRECISION_NOTSUP = -12
PCAP_ERROR_CAPTURE_NOTSUP = -13

PCAP_WARNING = 1
PCAP_WARNING_PROMISC_NOTSUP = 2
PCAP_WARNING_TSTAMP_TYPE_NOTSUP = 3

PCAP_NETMASK_UNKNOWN = 0xFFFFFFFF

PCAP_CHAR_ENC_LOCAL = 0x00000000
PCAP_CHAR_ENC_UTF_8 = 0x00000001
PCAP_MMAP_32BIT = 0x00000002

PCAP_TSTAMP_HOST = 0
PCAP_TSTAMP_HOST_LOWPREC = 1
PCAP_TSTAMP_HOST_HIPREC = 2
PCAP_TSTAMP_ADAPTER = 3
PCAP_TSTAMP_ADAPTER_UNSYNCED = 4
PCAP_TSTAMP_HOST_HIPREC_UNSYNCED = 5

PCAP_TSTAMP_PRECISION_MICRO = 0
PCAP_TSTAMP_PRECISION_NANO = 1

# Windows only.
MODE_CAPT = 0
MODE_STAT = 1
MODE_MON = 2

# Remote capture and pcap_open.
PCAP_BUF_SIZE = 1024
PCAP_SRC_FILE = 2
PCAP_SRC_IFLOCAL = 3
PCAP_SRC_IFREMOTE = 4
PCAP_SRC_FILE_STRING = b"file://"
PCAP_SRC_IF_STRING = b"rpcap://"
PCAP_OPENFLAG_PROMISCUOUS = 0x00000001
PCAP_OPENFLAG_DATATX_UDP = 0x00000002
PCAP_OPENFLAG_NOCAPTURE_RPCAP = 0x00000004
PCAP_OPENFLAG_NOCAPTURE_LOCAL = 0x00000008
PCAP_OPENFLAG_MAX_RESPONSIVENESS = 0x00000010
RPCAP_RMTAUTH_NULL = 0
RPCAP_RMTAUTH_PWD = 1
PCAP_SAMP_NOSAMP = 0
PCAP_SAMP_1_EVERY_N = 1
PCAP_SAMP_FIRST_AFTER_N_MS = 2
RPCAP_HOSTLIST_SIZE = 1024

# --- pcap/namedb.h -------------------------------------------------------------------------------------

PROTO_UNDEF = -1

# --- pcap/bpf.h ----------------------------------------------------------------------------------------

BPF_RELEASE = 199606
BPF_ALIGNMENT = _ctypes.sizeof(_ctypes.c_long) if _sys.platform.startswith("netbsd") else 4
BPF_MEMWORDS = 16

# Instruction classes.
BPF_LD = 0x00
BPF_LDX = 0x01
BPF_ST = 0x02
BPF_STX = 0x03
BPF_ALU = 0x04
BPF_JMP = 0x05
BPF_RET = 0x06
BPF_MISC = 0x07

# Sizes and addressing modes of ld and ldx.
BPF_W = 0x00
BPF_H = 0x08
BPF_B = 0x10
BPF_IMM = 0x00
BPF_ABS = 0x20
BPF_IND = 0x40
BPF_MEM = 0x60
BPF_LEN = 0x80
BPF_MSH = 0xA0

# Operations of alu and jmp, and their operands.
BPF_ADD = 0x00
BPF_SUB = 0x10
BPF_MUL = 0x20
BPF_DIV = 0x30
BPF_OR = 0x40
BPF_AND = 0x50
BPF_LSH = 0x60
BPF_RSH = 0x70
BPF_NEG = 0x80
BPF_MOD = 0x90
BPF_XOR = 0xA0
BPF_JA = 0x00
BPF_JEQ = 0x10
BPF_JGT = 0x20
BPF_JGE = 0x30
BPF_JSET = 0x40
BPF_K = 0x00
BPF_X = 0x08
BPF_A = 0x10  # of ret

# Of misc.
BPF_TAX = 0x00
BPF_TXA = 0x80

# --- pcap/sll.h, vlan.h, usb.h, can_socketcan.h, ipnet.h, nflog.h: inside packets ----------------------

SLL_HDR_LEN = 16
SLL_ADDRLEN = 8
SLL2_HDR_LEN = 20
LINUX_SLL_HOST = 0
LINUX_SLL_BROADCAST = 1
LINUX_SLL_MULTICAST = 2
LINUX_SLL_OTHERHOST = 3
LINUX_SLL_OUTGOING = 4
LINUX_SLL_P_802_3 = 0x0001
LINUX_SLL_P_802_2 = 0x0004
LINUX_SLL_P_CAN = 0x000C
LINUX_SLL_P_CANFD = 0x000D
LINUX_SLL_P_CANXL = 0x000E

VLAN_TAG_LEN = 4

URB_TRANSFER_IN = 0x80
URB_ISOCHRONOUS = 0x0
URB_INTERRUPT = 0x1
URB_CONTROL = 0x2
URB_BULK = 0x3
URB_SUBMIT = ord("S")
URB_COMPLETE = ord("C")
URB_ERROR = ord("E")
USB_MAXDESC = 128

CANFD_BRS = 0x01
CANFD_ESI = 0x02
CANFD_FDF = 0x04
CANXL_SEC = 0x01
CANXL_RRS = 0x02
CANXL_XLF = 0x80

IPH_AF_INET = 2
IPH_AF_INET6 = 26
IPNET_OUTBOUND = 1
IPNET_INBOUND = 2

NFULA_PACKET_HDR = 1
NFULA_MARK = 2
NFULA_TIMESTAMP = 3
NFULA_IFINDEX_INDEV = 4
NFULA_IFINDEX_OUTDEV = 5
NFULA_IFINDEX_PHYSINDEV = 6
NFULA_IFINDEX_PHYSOUTDEV = 7
NFULA_HWADDR = 8
NFULA_PAYLOAD = 9
NFULA_PREFIX = 10
NFULA_UID = 11
NFULA_SEQ = 12
NFULA_SEQ_GLOBAL = 13
NFULA_GID = 14
NFULA_HWTYPE = 15
NFULA_HWHEADER = 16
NFULA_HWLEN = 17

#: Every constant above, by its C name.
CONSTANT_VALUES: dict[str, int | bytes] = {
    name: value
    for name, value in globals().items()
    if name.isupper() and isinstance(value, (int, bytes)) and not name.startswith("_")
}

_STATUS_NAMES: dict[int, str] = {
    value: name
    for name, value in CONSTANT_VALUES.items()
    if isinstance(value, int) and name.startswith(("PCAP_ERROR", "PCAP_WARNING")) and "ERRBUF" not in name
}


def status_name(status: int) -> str | None:
    """The C name of a status code: ``status_name(-8) == "PCAP_ERROR_PERM_DENIED"``; None for others."""
    return _STATUS_NAMES.get(status)
