/* Records of a savefile (pcap-savefile(5)), in this machine's byte order. */
#include <string.h>

#include "arena.h"

#define HEADER	16

/* Bytes that pczc_savefile_records() writes. */
uint64_t
pczc_savefile_size(const struct record *index, uint32_t count, uint64_t length)
{
	uint64_t size = 0;
	uint32_t i;

	for (i = 0; i < count; i++)
		size += HEADER + record_caplen(&index[i], length);
	return (size);
}

/* `unit` is the nanoseconds that the file's fractions count: 1 or 1000. */
void
pczc_savefile_records(const u_char *base, uint64_t length, const struct record *index, uint32_t count,
    uint32_t unit, u_char *out)
{
	uint32_t i, fields[4];

	for (i = 0; i < count; i++) {
		fields[0] = (uint32_t)(index[i].ts_ns / 1000000000u);
		fields[1] = (uint32_t)(index[i].ts_ns % 1000000000u / unit);
		fields[2] = record_caplen(&index[i], length);
		fields[3] = index[i].wirelen;
		memcpy(out, fields, HEADER);
		memcpy(out + HEADER, base + index[i].offset, fields[2]);
		out += HEADER + fields[2];
	}
}

/*
 * A pcap_handler that puts records into an arena, one after the other; it needs no index.  The fraction is
 * what the handle counts.
 */
void
pczc_savefile_collect(u_char *user, const struct pcap_pkthdr *h, const u_char *packet)
{
	struct arena *a = (struct arena *)user;
	uint32_t fields[4];

	if (arena_make_room(a, HEADER + (uint64_t)h->caplen) != 0) {
		a->lost++;
		return;
	}
	fields[0] = (uint32_t)h->ts.tv_sec;
	fields[1] = (uint32_t)h->ts.tv_usec;
	fields[2] = h->caplen;
	fields[3] = h->len;
	memcpy(a->data + a->used, fields, HEADER);
	memcpy(a->data + a->used + HEADER, packet, h->caplen);
	a->used += HEADER + h->caplen;
	a->count++;
}
