/*
 * The header fields of many packets of a block in one call: what pypcapzc/decode does with numpy, and with the
 * same results, bit by bit (tests/companion/test_classify.py).
 *
 * Nothing is read but the caplen bytes of a packet, and of those only what lies within the block.
 */
#include <string.h>

#include "ip.h"

#define IPV4_TYPE	0x0800
#define ARP_TYPE	0x0806
#define IPV6_TYPE	0x86dd
#define VLAN_8021Q	0x8100
#define VLAN_8021AD	0x88a8
#define VLAN_QINQ	0x9100	/* what stacked tags had before 802.1ad */
#define MAX_VLAN_TAGS	8

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

/* The fields of one packet of a block of `length` bytes into `out`, whatever that held. */
LAYER void
decode_one(const u_char *base, uint64_t length, const struct record *r, uint32_t link, struct fields *out)
{
	struct walk w;

	memset(&w, 0, sizeof(w));
	w.end = w.limit = record_caplen(r, length);
	w.bytes = w.end != 0 ? base + r->offset : base;
	w.out = out;
	memset(out, 0, sizeof(*out));
	decode_packet(&w, link);
	out->layers = w.layers;
	out->payload_offset = w.payload;
	out->payload_length = w.payload_end - w.payload;
}

/* All of a block. */
void
pczc_decode(const u_char *base, uint64_t length, const struct record *index, uint32_t count, uint32_t link,
    struct fields *out)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		if (count - i > RECORDS_AHEAD)
			record_ask_for(&index[i + RECORDS_AHEAD], base, length);
		decode_one(base, length, &index[i], link, &out[i]);
	}
}

/*
 * Of `count` packets the fields that conditions look at, the others are left as they are; `known` packets are in
 * the index, which the caller goes on with.  The compiler finds out what need not be done for those.
 */
void
pczc_decode_keys(const u_char *base, uint64_t length, const struct record *index, uint32_t count,
    uint32_t known, uint32_t link, struct fields *out)
{
	struct fields all;
	uint32_t i;

	for (i = 0; i < count; i++, out++) {
		if (known - i > RECORDS_AHEAD)
			record_ask_for(&index[i + RECORDS_AHEAD], base, length);
		decode_one(base, length, &index[i], link, &all);
		out->layers = all.layers;
		out->ip_version = all.ip_version;
		out->protocol = all.protocol;
		out->src_hi = all.src_hi;
		out->src_lo = all.src_lo;
		out->dst_hi = all.dst_hi;
		out->dst_lo = all.dst_lo;
		out->src_port = all.src_port;
		out->dst_port = all.dst_port;
	}
}
