/*
 * What the programs share that borrow blocks.
 */
#ifndef SIMLEND_H
#define SIMLEND_H

#include <pcap/zc.h>

#include "simtest.h"

static inline void
see_block(struct seen *seen, const struct pcap_zc_block *block)
{
	const struct pcap_zc_record *record = block->index;
	uint32_t i;

	for (i = 0; i < block->count; i++, record++) {
		check(record->offset <= block->length &&
		    record->caplen <= block->length - record->offset,
		    "record %u is not in the block", i);
		check(record->wirelen >= record->caplen && record->flags == 0 &&
		    record->ts_ns > 0, "record %u", i);
		see(seen, block->base + record->offset, record->caplen);
	}
}

static inline struct pcap_zc_info
info_of(pcap_t *p)
{
	struct pcap_zc_info info = { .size = sizeof(info) };

	check(pcap_zc_info(p, &info) == 0, "%s", pcap_geterr(p));
	return (info);
}

static inline int
next(pcap_t *p, struct pcap_zc_block *block, int timeout)
{
	int status = pcap_zc_next(p, block, timeout);

	check(status >= 0, "%d: %s", status, pcap_geterr(p));
	return (status);
}

static inline void
release(pcap_t *p, struct pcap_zc_block *block)
{
	check(pcap_zc_release(p, block) == 0, "%s", pcap_geterr(p));
}

#endif /* SIMLEND_H */
