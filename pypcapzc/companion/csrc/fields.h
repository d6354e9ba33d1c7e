/* The header fields of a packet: FIELDS of pypcapzc/decode/layout.py, which says what they are. */
#ifndef pypcapzc_fields_h
#define pypcapzc_fields_h

#include "records.h"

#define F_LINK			(1u << 0)
#define F_VLAN			(1u << 1)
#define F_ARP			(1u << 2)
#define F_IPV4			(1u << 3)
#define F_IPV6			(1u << 4)
#define F_ADDRESSES		(1u << 5)
#define F_FRAGMENT		(1u << 6)
#define F_MORE_FRAGMENTS	(1u << 7)
#define F_PORTS			(1u << 8)
#define F_TCP			(1u << 9)
#define F_UDP			(1u << 10)
#define F_ICMP			(1u << 11)
#define F_ICMPV6		(1u << 12)
#define F_SCTP			(1u << 13)
#define F_PAYLOAD		(1u << 14)
#define F_TRUNCATED		(1u << 15)
#define F_MALFORMED		(1u << 16)
#define F_DEEP			(1u << 17)

struct fields {
	uint32_t	layers;		/* F_* */
	uint16_t	ethertype;
	uint8_t		ip_version;
	uint8_t		protocol;
	uint32_t	network_offset;
	uint32_t	transport_offset;
	uint32_t	payload_offset;
	uint32_t	payload_length;
	uint64_t	src_hi;
	uint64_t	src_lo;
	uint64_t	dst_hi;
	uint64_t	dst_lo;
	uint16_t	src_port;
	uint16_t	dst_port;
	uint16_t	vlan_outer;
	uint16_t	vlan_inner;
	uint64_t	link_src;
	uint64_t	link_dst;
	uint32_t	cooked_interface;
	uint16_t	cooked_hardware;
	uint8_t		cooked_type;
	uint8_t		vlan_count;
	uint32_t	ip_length;
	uint32_t	ip_id;
	uint32_t	flow_label;
	uint16_t	fragment_offset;
	uint16_t	ip_header_length;
	uint16_t	ip_checksum;
	uint8_t		ip_tos;
	uint8_t		ip_ttl;
	uint64_t	arp_sender;
	uint64_t	arp_target;
	uint16_t	arp_operation;
	uint8_t		ip_flags;
	uint8_t		icmp_type;
	uint8_t		icmp_code;
	uint8_t		tcp_header_length;
	uint16_t	tcp_flags;
	uint32_t	tcp_seq;
	uint32_t	tcp_ack;
	uint16_t	tcp_window;
	uint16_t	tcp_urgent;
	uint16_t	checksum;
	uint16_t	udp_length;
	uint32_t	icmp_rest;
	uint32_t	sctp_tag;
	uint32_t	sctp_checksum;
};

/* As LINKS of pypcapzc/decode/fast.py numbers them. */
enum link { ETHERNET, COOKED, COOKED2, RAW, RAW_IPV4, RAW_IPV6, NULL_LOOP };

void	pczc_decode(const u_char *, uint64_t, const struct record *, uint32_t, uint32_t, struct fields *);
void	pczc_decode_keys(const u_char *, uint64_t, const struct record *, uint32_t, uint32_t, uint32_t,
	    struct fields *);

#endif
