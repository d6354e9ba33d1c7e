/* IPv4, IPv6 and what they carry; a part of decode.c. */
#ifndef pypcapzc_ip_h
#define pypcapzc_ip_h

#include "walk.h"

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

#endif
