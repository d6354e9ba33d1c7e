/*
 * A viewer for pcap_zc_next_viewed() that remembers what it was shown, for
 * comparison with the block that was lent then.
 */
#ifndef ZCVIEW_H
#define ZCVIEW_H

#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>
#include <pcap/zc.h>

struct viewed {
	const u_char *base;
	uint32_t length;
	struct pcap_zc_record *records;
	u_int	room, count, left;
	u_int	views;
	unsigned sum;			/* of all bytes: they're there */
	const char *wrong;		/* what has been found to be, or null */
};

static inline void
view(u_char *user, const struct pcap_zc_view *v)
{
	struct viewed *seen = (struct viewed *)user;
	const u_char *bytes;
	uint32_t i, j;

	if (v->count == 0)
		seen->wrong = "a view of nothing";
	if (seen->views++ != 0) {
		if (v->base != seen->base || v->length != seen->length)
			seen->wrong = "views of two blocks";
		if (v->count + v->left > seen->left)
			seen->wrong = "more packets than were said to follow";
	}
	seen->base = v->base;
	seen->length = v->length;
	seen->left = v->left;
	for (i = 0; i < v->count; i++) {
		if (seen->count == seen->room) {
			seen->room = 2 * seen->room + 64;
			seen->records = realloc(seen->records,
			    seen->room * sizeof(*seen->records));
		}
		if ((uint64_t)v->records[i].offset + v->records[i].caplen >
		    v->length)
			seen->wrong = "a packet outside its block";
		bytes = v->base + v->records[i].offset;
		for (j = 0; j < v->records[i].caplen; j++)
			seen->sum += bytes[j];
		seen->records[seen->count++] = v->records[i];
	}
}

/*
 * What's wrong with what was shown before a call returned "status", or null.
 */
static inline const char *
view_ends(struct viewed *seen, int status, const struct pcap_zc_block *b)
{
	const char *wrong = seen->wrong;

	if (wrong == NULL && status == 1 && (seen->count != b->count ||
	    seen->base != b->base || seen->length != b->length ||
	    memcmp(seen->records, b->index, b->count * sizeof(*b->index)) != 0))
		wrong = "other packets than those of the block";
	if (wrong == NULL && status == 0 && seen->count != 0)
		wrong = "packets of no block";
	free(seen->records);
	memset(seen, 0, sizeof(*seen));
	return (wrong);
}

#endif
