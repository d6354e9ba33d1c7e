"""libpcap's C API under its C names: functions, types and constants.

    from pypcapzc import libpcap

    errbuf = libpcap.error_buffer()
    handle = libpcap.pcap_create(b"lo", errbuf)

Importing this, and looking a name up, loads no library: the first call does.  A function that the loaded
library lacks is there all the same, and raises MissingFunctionError when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..constants import *  # noqa: F403 - the constants are part of the C API
from ..datalinks import *  # noqa: F403
from ..linktypes import *  # noqa: F403
from . import loader
from .loader import Function as Function
from .loader import Library as Library
from .loader import load as load
from .loader import use as use
from .packets import *  # noqa: F403
from .prototypes import PROTOTYPES as PROTOTYPES
from .prototypes import Fails as Fails
from .prototypes import Prototype as Prototype
from .types import *  # noqa: F403


def library() -> Library:
    """The library that this process uses; loads it on first use."""
    return loader.current()


if TYPE_CHECKING:
    # The names of the table, spelled out for type checkers and editors; a test compares the two.
    bpf_dump: Function
    bpf_filter: Function
    bpf_filter_with_aux_data: Function
    bpf_image: Function
    bpf_validate: Function
    pcap_activate: Function
    pcap_breakloop: Function
    pcap_bufsize: Function
    pcap_can_set_rfmon: Function
    pcap_close: Function
    pcap_compile: Function
    pcap_compile_nopcap: Function
    pcap_create: Function
    pcap_createsrcstr: Function
    pcap_datalink: Function
    pcap_datalink_ext: Function
    pcap_datalink_name_to_val: Function
    pcap_datalink_val_to_description: Function
    pcap_datalink_val_to_description_or_dlt: Function
    pcap_datalink_val_to_name: Function
    pcap_dispatch: Function
    pcap_dump: Function
    pcap_dump_close: Function
    pcap_dump_file: Function
    pcap_dump_flush: Function
    pcap_dump_fopen: Function
    pcap_dump_ftell: Function
    pcap_dump_ftell64: Function
    pcap_dump_hopen: Function
    pcap_dump_open: Function
    pcap_dump_open_append: Function
    pcap_ether_aton: Function
    pcap_ether_hostton: Function
    pcap_file: Function
    pcap_fileno: Function
    pcap_findalldevs: Function
    pcap_findalldevs_ex: Function
    pcap_fopen_offline: Function
    pcap_fopen_offline_with_tstamp_precision: Function
    pcap_free_datalinks: Function
    pcap_free_tstamp_types: Function
    pcap_freealldevs: Function
    pcap_freecode: Function
    pcap_get_airpcap_handle: Function
    pcap_get_required_select_timeout: Function
    pcap_get_selectable_fd: Function
    pcap_get_tstamp_precision: Function
    pcap_geterr: Function
    pcap_getevent: Function
    pcap_getnonblock: Function
    pcap_hopen_offline: Function
    pcap_hopen_offline_with_tstamp_precision: Function
    pcap_init: Function
    pcap_inject: Function
    pcap_is_swapped: Function
    pcap_lib_version: Function
    pcap_list_datalinks: Function
    pcap_list_tstamp_types: Function
    pcap_live_dump: Function
    pcap_live_dump_ended: Function
    pcap_lookupdev: Function
    pcap_lookupnet: Function
    pcap_loop: Function
    pcap_mac_packets: Function
    pcap_major_version: Function
    pcap_minor_version: Function
    pcap_nametoaddr: Function
    pcap_nametoaddrinfo: Function
    pcap_nametoeproto: Function
    pcap_nametollc: Function
    pcap_nametonetaddr: Function
    pcap_nametoport: Function
    pcap_nametoportrange: Function
    pcap_nametoproto: Function
    pcap_next: Function
    pcap_next_etherent: Function
    pcap_next_ex: Function
    pcap_offline_filter: Function
    pcap_oid_get_request: Function
    pcap_oid_set_request: Function
    pcap_open: Function
    pcap_open_dead: Function
    pcap_open_dead_with_tstamp_precision: Function
    pcap_open_live: Function
    pcap_open_offline: Function
    pcap_open_offline_with_tstamp_precision: Function
    pcap_parsesrcstr: Function
    pcap_perror: Function
    pcap_remoteact_accept: Function
    pcap_remoteact_accept_ex: Function
    pcap_remoteact_cleanup: Function
    pcap_remoteact_close: Function
    pcap_remoteact_list: Function
    pcap_sendpacket: Function
    pcap_sendqueue_alloc: Function
    pcap_sendqueue_destroy: Function
    pcap_sendqueue_queue: Function
    pcap_sendqueue_transmit: Function
    pcap_set_buffer_size: Function
    pcap_set_datalink: Function
    pcap_set_immediate_mode: Function
    pcap_set_promisc: Function
    pcap_set_protocol_linux: Function
    pcap_set_rfmon: Function
    pcap_set_snaplen: Function
    pcap_set_timeout: Function
    pcap_set_tstamp_precision: Function
    pcap_set_tstamp_type: Function
    pcap_set_wait: Function
    pcap_setbuff: Function
    pcap_setdirection: Function
    pcap_setfilter: Function
    pcap_setmintocopy: Function
    pcap_setmode: Function
    pcap_setnonblock: Function
    pcap_setsampling: Function
    pcap_setuserbuffer: Function
    pcap_snapshot: Function
    pcap_start_oem: Function
    pcap_stats: Function
    pcap_stats_ex: Function
    pcap_statustostr: Function
    pcap_strerror: Function
    pcap_tstamp_type_name_to_val: Function
    pcap_tstamp_type_val_to_description: Function
    pcap_tstamp_type_val_to_name: Function
    pcap_wsockinit: Function
else:

    def __getattr__(name: str) -> Function:
        if name in PROTOTYPES:
            # Into the module's own names, so that the next look-up does not come here.
            found = globals()[name] = loader.function(name)
            return found
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}, and libpcap has no such function"
        )


def __dir__() -> list[str]:
    return sorted({*globals(), *PROTOTYPES})
