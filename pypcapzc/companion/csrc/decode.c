/*
 * The header fields of many packets of a block in one call: what pypcapzc/decode does with numpy, and with the
 * same results, bit by bit (tests/unit/test_decode_companion.py).
 *
 * Nothing is read but the caplen bytes of a packet, and of those only what lies within the block.
 */
#include <string.h>

#include "fields.h"

#define IPV4_TYPE	0x0800
#define ARP_TYPE	0x0806
#define IPV6_TYPE	0x86dd
#define VLAN_8021Q	0x8100
#define VLAN_8021AD	0x88a8
#define VLAN_QINQ	0x9100	/* what stacked tags had before 802.1ad */

#define MAX_VLAN_TAGS	8
#define MAX_EXTENSIONS	12

#define PROTO_HOPOPTS	0
#define PROTO_ICMP	1
#define PROTO_TCP	6
#define PROTO_UDP	17
#define PROTO_ROUTING	43
#define PROTO_FRAGMENT	44
#define PROTO_AH	51
#define PROTO_ICMPV6	58
#define PROTO_NONE	59
#define PROTO_DSTOPTS	60
#define PROTO_SCTP	132
#define PROTO_MOBILITY	135
#define PROTO_HIP	139
#define PROTO_SHIM6	140

/* How many packets ahead memory is asked for what is about to be read, and what of a packet that mostly is. */
#define AHEAD		8
#define NEAR		63

/*
 * Each layer is decoded by a function that gives what follows, or NOTHING.  All are to become one function, in
 * which the members of a struct walk are registers: that takes half the time.
 */
#define LAYER	static inline __attribute__((always_inline))
#define NOTHING	(-1)

/* A packet on its way through the layers.  Offsets count from its first byte. */
struct walk {
	const u_char	*bytes;
	uint32_t	 end;		/* caplen */
	uint32_t	 at;		/* where the next header begins */
	uint32_t	 limit;		/* where bytes end that may belong to it; at most end */
	uint32_t	 layers;
	uint32_t	 payload, payload_end;
	struct fields	*out;
};

LAYER uint16_t
get16(const u_char *p)
{
	return ((uint16_t)(p[0] << 8 | p[1]));
}

LAYER uint32_t
get32(const u_char *p)
{
	return ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
}

LAYER uint64_t
get48(const u_char *p)
{
	return ((uint64_t)get16(p) << 32 | get32(p + 2));
}

LAYER uint64_t
get64(const u_char *p)
{
	return ((uint64_t)get32(p) << 32 | get32(p + 4));
}

/* A header has no room: it was cut off at caplen, or a length field contradicts it. */
LAYER void
mark_short(struct walk *w)
{
	w->layers |= w->limit == w->end ? F_TRUNCATED : F_MALFORMED;
}

LAYER int
has_room(struct walk *w, uint32_t size)
{
	if (size <= w->limit - w->at)
		return (1);
	mark_short(w);
	return (0);
}

/* What is at `at` follows the headers so far. */
LAYER void
enter_payload(struct walk *w, uint32_t bits)
{
	w->layers |= F_PAYLOAD | bits;
	w->payload = w->at;
	w->payload_end = w->limit;
}

LAYER void
take_ports(struct walk *w, uint32_t bits)
{
	w->layers |= F_PORTS | bits;
	w->out->transport_offset = w->at;
	w->out->src_port = get16(w->bytes + w->at);
	w->out->dst_port = get16(w->bytes + w->at + 2);
}

/* A header that begins with ports; of one that is not whole the ports, if they are there. */
LAYER int
has_room_or_ports(struct walk *w, uint32_t size)
{
	if (has_room(w, size))
		return (1);
	if (w->limit - w->at >= 4)
		take_ports(w, 0);
	return (0);
}

LAYER void
decode_tcp(struct walk *w)
{
	const u_char *p = w->bytes + w->at;
	struct fields *out = w->out;
	uint32_t size;

	if (!has_room_or_ports(w, 20))
		return;
	take_ports(w, F_TCP);
	out->tcp_seq = get32(p + 4);
	out->tcp_ack = get32(p + 8);
	out->tcp_flags = get16(p + 12) & 0xfff;
	out->tcp_window = get16(p + 14);
	out->checksum = get16(p + 16);
	out->tcp_urgent = get16(p + 18);
	size = (uint32_t)(p[12] >> 4) * 4;
	out->tcp_header_length = (uint8_t)size;
	if (size < 20) {
		w->layers |= F_MALFORMED;
		return;
	}
	if (!has_room(w, size))
		return;
	w->at += size;
	enter_payload(w, 0);
}

LAYER void
decode_udp(struct walk *w)
{
	const u_char *p = w->bytes + w->at;
	uint32_t length;

	if (!has_room_or_ports(w, 8))
		return;
	take_ports(w, F_UDP);
	length = get16(p + 4);
	w->out->udp_length = (uint16_t)length;
	w->out->checksum = get16(p + 6);
	if (length != 0 && length < 8) {
		w->layers |= F_MALFORMED;
		return;
	}
	/* 0 is for jumbograms (RFC 2675): then IP's length holds. */
	if (length != 0 && length < w->limit - w->at)
		w->limit = w->at + length;
	w->at += 8;
	enter_payload(w, 0);
}

LAYER void
decode_sctp(struct walk *w)
{
	const u_char *p = w->bytes + w->at;

	if (!has_room_or_ports(w, 12))
		return;
	take_ports(w, F_SCTP);
	w->out->sctp_tag = get32(p + 4);
	w->out->sctp_checksum = get32(p + 8);
	w->at += 12;
	enter_payload(w, 0);
}

LAYER void
decode_icmp(struct walk *w, uint32_t bit)
{
	const u_char *p = w->bytes + w->at;

	if (!has_room(w, 8))
		return;
	w->out->transport_offset = w->at;
	w->out->icmp_type = p[0];
	w->out->icmp_code = p[1];
	w->out->checksum = get16(p + 2);
	w->out->icmp_rest = get32(p + 4);
	w->at += 8;
	enter_payload(w, bit);
}

LAYER void
decode_transport(struct walk *w, int protocol)
{
	switch (protocol) {
	case PROTO_TCP:
		decode_tcp(w);
		break;
	case PROTO_UDP:
		decode_udp(w);
		break;
	case PROTO_SCTP:
		decode_sctp(w);
		break;
	case PROTO_ICMP:
		if (w->out->ip_version == 4)
			decode_icmp(w, F_ICMP);
		break;
	case PROTO_ICMPV6:
		if (w->out->ip_version == 6)
			decode_icmp(w, F_ICMPV6);
		break;
	}
}

/*
 * The total length bounds what follows.  0 is what a sender's own capture has before the card cuts a large
 * segment.  Gives whether it contradicts the header's length.
 */
LAYER int
limit_ipv4(struct walk *w, uint32_t length, uint32_t header)
{
	int contradicts = length != 0 && length < header;

	if (contradicts) {
		w->layers |= F_MALFORMED;
		length = header;
	}
	if (length != 0 && length < w->limit - w->at)
		w->limit = w->at + length;
	return (contradicts);
}

LAYER int
decode_ipv4(struct walk *w)
{
	const u_char *p = w->bytes + w->at;
	struct fields *out = w->out;
	uint32_t header;
	uint16_t fragment;
	int contradicts;

	if (!has_room(w, 20))
		return (NOTHING);
	if (p[0] < 0x45 || p[0] > 0x4f) {
		w->layers |= F_MALFORMED;
		return (NOTHING);
	}
	header = (p[0] & 15u) * 4;
	w->layers |= F_IPV4 | F_ADDRESSES;
	out->ip_version = 4;
	out->network_offset = w->at;
	out->ip_tos = p[1];
	out->ip_length = get16(p + 2);
	out->ip_id = get16(p + 4);
	fragment = get16(p + 6);
	out->ip_flags = (uint8_t)(fragment >> 13);
	out->ip_ttl = p[8];
	out->protocol = p[9];
	out->ip_checksum = get16(p + 10);
	out->src_lo = get32(p + 12);
	out->dst_lo = get32(p + 16);
	out->ip_header_length = (uint16_t)header;
	if ((fragment & 0x3fff) != 0) {
		out->fragment_offset = (uint16_t)((fragment & 0x1fff) * 8);
		w->layers |= F_FRAGMENT | (fragment & 0x2000 ? F_MORE_FRAGMENTS : 0);
	}
	contradicts = limit_ipv4(w, out->ip_length, header);
	if (!has_room(w, header) || contradicts)
		return (NOTHING);
	w->at += header;
	enter_payload(w, 0);
	return ((fragment & 0x1fff) == 0 ? p[9] : NOTHING);
}

/* Those whose length is readable, hence not ESP (50): IANA's "IPv6 Extension Header Types". */
LAYER int
is_extension(uint8_t protocol)
{
	switch (protocol) {
	case PROTO_HOPOPTS:
	case PROTO_ROUTING:
	case PROTO_FRAGMENT:
	case PROTO_AH:
	case PROTO_DSTOPTS:
	case PROTO_MOBILITY:
	case PROTO_HIP:
	case PROTO_SHIM6:
		return (1);
	}
	return (0);
}

/* The extension header at `at` of that kind.  Gives its size, or 0 where it has no room. */
LAYER uint32_t
decode_extension(struct walk *w, uint8_t kind)
{
	const u_char *p = w->bytes + w->at;
	uint32_t size;

	if (!has_room(w, 8))
		return (0);
	if (kind == PROTO_FRAGMENT) {
		size = 8;
		w->out->ip_id = get32(p + 4);
		w->out->fragment_offset = get16(p + 2) & 0xfff8;
		w->layers |= F_FRAGMENT | (p[3] & 1 ? F_MORE_FRAGMENTS : 0);
	} else if (kind == PROTO_AH)
		size = (p[1] + 2u) * 4;		/* RFC 4302, 2.2 */
	else
		size = (p[1] + 1u) * 8;
	return (has_room(w, size) ? size : 0);
}

/* Past the IPv6 header and its extensions, up to the transport header. */
LAYER int
decode_ipv6_chain(struct walk *w, uint8_t next)
{
	struct fields *out = w->out;
	uint32_t size = 40, depth;

	for (depth = 0;; depth++) {
		w->at += size;
		out->protocol = next;
		out->ip_header_length = (uint16_t)(out->ip_header_length + size);
		enter_payload(w, 0);
		if (out->fragment_offset != 0)	/* of later fragments the chain is not repeated */
			return (NOTHING);
		if (!is_extension(next))
			return (next);
		if (depth == MAX_EXTENSIONS) {
			w->layers |= F_DEEP;
			return (NOTHING);
		}
		size = decode_extension(w, next);
		if (size == 0)
			return (NOTHING);
		next = w->bytes[w->at];
	}
}

LAYER int
decode_ipv6(struct walk *w)
{
	const u_char *p = w->bytes + w->at;
	struct fields *out = w->out;
	uint32_t first, length;

	if (!has_room(w, 40))
		return (NOTHING);
	if (p[0] >> 4 != 6) {
		w->layers |= F_MALFORMED;
		return (NOTHING);
	}
	first = get32(p);
	w->layers |= F_IPV6 | F_ADDRESSES;
	out->ip_version = 6;
	out->network_offset = w->at;
	out->ip_tos = (uint8_t)(first >> 20);
	out->flow_label = first & 0xfffff;
	length = get16(p + 4);
	out->ip_length = length + 40;
	out->ip_ttl = p[7];
	out->src_hi = get64(p + 8);
	out->src_lo = get64(p + 16);
	out->dst_hi = get64(p + 24);
	out->dst_lo = get64(p + 32);
	/* 0 is for jumbograms (RFC 2675), and for large segments of a sender's own; or nothing follows. */
	if ((length != 0 || p[6] == PROTO_NONE) && length + 40 < w->limit - w->at)
		w->limit = w->at + 40 + length;
	return (decode_ipv6_chain(w, p[6]));
}

LAYER void
decode_arp(struct walk *w)
{
	const u_char *p = w->bytes + w->at;
	struct fields *out = w->out;
	uint32_t size;

	if (!has_room(w, 8))
		return;
	w->layers |= F_ARP;
	out->network_offset = w->at;
	out->arp_operation = get16(p + 6);
	w->at += 8;
	size = ((uint32_t)p[4] + p[5]) * 2;
	if (!has_room(w, size))
		return;
	if (get16(p + 2) == IPV4_TYPE && p[4] == 6 && p[5] == 4) {
		w->layers |= F_ADDRESSES;
		out->arp_sender = get48(p + 8);
		out->src_lo = get32(p + 14);
		out->arp_target = get48(p + 18);
		out->dst_lo = get32(p + 24);
	}
	w->at += size;
	enter_payload(w, 0);
}

LAYER int
decode_ethernet(struct walk *w)
{
	if (!has_room(w, 14))
		return (NOTHING);
	w->out->link_dst = get48(w->bytes);
	w->out->link_src = get48(w->bytes + 6);
	w->at = 14;
	return (get16(w->bytes + 12));
}

/* LINKTYPE_LINUX_SLL of the registry at tcpdump.org. */
LAYER int
decode_cooked(struct walk *w)
{
	if (!has_room(w, 16))
		return (NOTHING);
	w->out->cooked_type = w->bytes[1];
	w->out->cooked_hardware = get16(w->bytes + 2);
	if (get16(w->bytes + 4) == 6)
		w->out->link_src = get48(w->bytes + 6);
	w->at = 16;
	return (get16(w->bytes + 14));
}

/* LINKTYPE_LINUX_SLL2. */
LAYER int
decode_cooked2(struct walk *w)
{
	if (!has_room(w, 20))
		return (NOTHING);
	w->out->cooked_interface = get32(w->bytes + 4);
	w->out->cooked_hardware = get16(w->bytes + 8);
	w->out->cooked_type = w->bytes[10];
	if (w->bytes[11] == 6)
		w->out->link_src = get48(w->bytes + 12);
	w->at = 20;
	return (get16(w->bytes));
}

LAYER int
decode_raw(struct walk *w)
{
	if (!has_room(w, 1))
		return (NOTHING);
	if (w->bytes[0] >> 4 == 4)
		return (IPV4_TYPE);
	if (w->bytes[0] >> 4 == 6)
		return (IPV6_TYPE);
	w->layers |= F_MALFORMED;
	return (0);
}

/*
 * NULL has the byte order of whoever captured, LOOP network order: a family fits 16 bits, so both are read by
 * where the zeros are.  IPv4 has one number everywhere, IPv6 that of the system that wrote the packet (Linux;
 * NetBSD, OpenBSD and BSD/OS; FreeBSD; macOS).
 */
LAYER int
decode_null(struct walk *w)
{
	uint32_t family;

	if (!has_room(w, 4))
		return (NOTHING);
	family = get32(w->bytes);
	if (family > 0xffff)
		family = family >> 24 | (family >> 8 & 0xff00) | (family << 8 & 0xff0000) | family << 24;
	w->at = 4;
	if (family == 2)
		return (IPV4_TYPE);
	return (family == 10 || family == 24 || family == 28 || family == 30 ? IPV6_TYPE : 0);
}

/* The link-layer header.  Gives the ethertype of what follows. */
LAYER int
decode_link(struct walk *w, uint32_t link)
{
	switch (link) {
	case ETHERNET:
		return (decode_ethernet(w));
	case COOKED:
		return (decode_cooked(w));
	case COOKED2:
		return (decode_cooked2(w));
	case RAW:
		return (decode_raw(w));
	case RAW_IPV4:
		return (IPV4_TYPE);
	case RAW_IPV6:
		return (IPV6_TYPE);
	case NULL_LOOP:
		return (decode_null(w));
	}
	return (NOTHING);
}

/* The VLAN tags from the one on that `type` says is there.  Gives the type behind them. */
LAYER int
decode_tags(struct walk *w, int type)
{
	uint16_t tag;

	while (type == VLAN_8021Q || type == VLAN_8021AD || type == VLAN_QINQ) {
		if (w->out->vlan_count == MAX_VLAN_TAGS) {
			w->layers |= F_DEEP;
			return (NOTHING);
		}
		if (!has_room(w, 4))
			return (NOTHING);
		tag = get16(w->bytes + w->at);
		if (w->out->vlan_count == 0)
			w->out->vlan_outer = tag;
		else if (w->out->vlan_count == 1)
			w->out->vlan_inner = tag;
		w->out->vlan_count++;
		type = get16(w->bytes + w->at + 2);
		w->out->ethertype = (uint16_t)type;
		w->at += 4;
		enter_payload(w, F_VLAN);
	}
	return (type);
}

LAYER void
decode_packet(struct walk *w, uint32_t link)
{
	int type = decode_link(w, link), protocol = NOTHING;

	if (type == NOTHING)
		return;
	w->out->ethertype = (uint16_t)type;
	enter_payload(w, F_LINK);
	type = decode_tags(w, type);
	if (type == IPV4_TYPE)
		protocol = decode_ipv4(w);
	else if (type == IPV6_TYPE)
		protocol = decode_ipv6(w);
	else if (type == ARP_TYPE)
		decode_arp(w);
	if (protocol != NOTHING)
		decode_transport(w, protocol);
}

static inline void
ask_for(const u_char *base, uint64_t length, const struct record *r)
{
	if (r->offset < length)
		__builtin_prefetch(base + r->offset);
	if (length > NEAR && r->offset < length - NEAR)
		__builtin_prefetch(base + r->offset + NEAR);
}

/*
 * The fields of `count` packets of a block of `length` bytes into `out`, whatever that held; `known` packets
 * are in the index, which the caller goes on with.
 */
void
pczc_decode_some(const u_char *base, uint64_t length, const struct record *index, uint32_t count,
    uint32_t known, uint32_t link, struct fields *out)
{
	struct walk w;
	uint32_t i;

	for (i = 0; i < count; i++) {
		if (known - i > AHEAD)
			ask_for(base, length, &index[i + AHEAD]);
		memset(&w, 0, sizeof(w));
		w.end = w.limit = record_caplen(&index[i], length);
		w.bytes = w.end != 0 ? base + index[i].offset : base;
		w.out = &out[i];
		memset(w.out, 0, sizeof(*w.out));
		decode_packet(&w, link);
		w.out->layers = w.layers;
		w.out->payload_offset = w.payload;
		w.out->payload_length = w.payload_end - w.payload;
	}
}

/* All of a block. */
void
pczc_decode(const u_char *base, uint64_t length, const struct record *index, uint32_t count, uint32_t link,
    struct fields *out)
{
	pczc_decode_some(base, length, index, count, count, link, out);
}
