/* The index of a block: one record a packet, as pcap_zc_next(3PCAP) of the patched libpcap lends it. */
#ifndef pypcapzc_records_h
#define pypcapzc_records_h

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct record {
	uint64_t	ts_ns;
	uint32_t	offset;
	uint32_t	caplen;
	uint32_t	wirelen;
	uint32_t	flags;
};

/* Of what a record claims, the bytes that lie within the `length` bytes of its block. */
static inline uint32_t
record_caplen(const struct record *r, uint64_t length)
{
	if (r->offset >= length)
		return (0);
	return (r->caplen <= length - r->offset ? r->caplen : (uint32_t)(length - r->offset));
}

/* Whoever looks at one packet after the other asks for the headers of the one so many further on. */
#define RECORDS_AHEAD	8
#define HEADERS_END	63	/* a second cache line may be needed for them */

static inline void
record_ask_for(const struct record *r, const u_char *base, uint64_t length)
{
	if (length > HEADERS_END && r->offset < length - HEADERS_END) {
		__builtin_prefetch(base + r->offset);
		__builtin_prefetch(base + r->offset + HEADERS_END);
	}
}

#endif
