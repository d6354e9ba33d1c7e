/* Chosen packets of a block: their records, and their bytes one after the other in memory of the caller's. */
#include <string.h>

#include "records.h"

/* The records at `wanted` positions, of `count`.  Gives how many it copied: fewer where a position is none. */
uint64_t
pczc_rows(const struct record *index, uint32_t count, const int64_t *positions, uint64_t wanted,
    struct record *out)
{
	uint64_t i;

	for (i = 0; i < wanted && positions[i] >= 0 && positions[i] < (int64_t)count; i++)
		out[i] = index[positions[i]];
	return (i);
}

/*
 * As many of the packets at these positions as fit into the `size` bytes of `out`, and their `rows`, with the
 * offsets there.  Gives how many that are, or -1 where a position is none: then nothing is in `out`.
 */
int64_t
pczc_gather(const u_char *base, uint64_t length, const struct record *index, uint32_t count,
    const int64_t *positions, uint64_t wanted, struct record *rows, u_char *out, uint64_t size)
{
	uint64_t used = 0, i;
	uint32_t caplen;

	if (pczc_rows(index, count, positions, wanted, rows) != wanted)
		return (-1);
	for (i = 0; i < wanted; i++) {
		caplen = record_caplen(&rows[i], length);
		if (caplen > size - used || used > UINT32_MAX)
			break;
		if (caplen != 0)
			memcpy(out + used, base + rows[i].offset, caplen);
		rows[i].offset = (uint32_t)used;
		rows[i].caplen = caplen;
		used += caplen;
	}
	return ((int64_t)i);
}
