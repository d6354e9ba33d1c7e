/*
 * The callback that collects what a stock libpcap hands out, packet by packet, into one piece of memory with
 * the index that the patched one would lend: pcap_dispatch(3PCAP) runs it, and no Python.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "records.h"

struct pcap_pkthdr {	/* pcap/pcap.h */
	struct timeval	ts;
	uint32_t	caplen;
	uint32_t	len;
};

/* companion.Arena in __init__.py has the same fields. */
struct arena {
	u_char		*data;
	uint64_t	 size;		/* bytes of memory */
	uint64_t	 used;
	struct record	*index;
	uint32_t	 room;		/* records of memory */
	uint32_t	 count;
	uint32_t	 unit;		/* nanoseconds in what tv_usec counts: 1 or 1000 */
	uint32_t	 lost;		/* packets for which there was no memory */
};

#define ALIGNMENT	8

void
pczc_arena_free(struct arena *a)
{
	if (a != NULL) {
		free(a->data);
		free(a->index);
		free(a);
	}
}

/* `size` is a power of two, and stays one as the memory grows. */
struct arena *
pczc_arena_new(uint64_t size, uint32_t room, uint32_t unit)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return (NULL);
	a->data = malloc(size);
	a->index = malloc(room * sizeof(*a->index));
	a->size = size;
	a->room = room;
	a->unit = unit;
	if (a->data == NULL || a->index == NULL) {
		pczc_arena_free(a);
		return (NULL);
	}
	return (a);
}

static int
grow(void **memory, uint64_t size)
{
	void *grown = size <= SIZE_MAX ? realloc(*memory, size) : NULL;

	if (grown == NULL)
		return (-1);
	*memory = grown;
	return (0);
}

static int
make_room(struct arena *a, uint32_t caplen)
{
	uint64_t needed = a->used + caplen, size;

	if (needed > UINT32_MAX)	/* offsets have 32 bits */
		return (-1);
	for (size = a->size; size < needed; size *= 2)
		;
	if (size > a->size) {
		if (grow((void **)&a->data, size) != 0)
			return (-1);
		a->size = size;
	}
	if (a->count == a->room) {
		if (a->room > UINT32_MAX / 2 ||
		    grow((void **)&a->index, 2 * (uint64_t)a->room * sizeof(*a->index)) != 0)
			return (-1);
		a->room *= 2;
	}
	return (0);
}

/* A pcap_handler. */
void
pczc_collect(u_char *user, const struct pcap_pkthdr *h, const u_char *packet)
{
	struct arena *a = (struct arena *)user;
	struct record *r;

	if (make_room(a, h->caplen) != 0) {
		a->lost++;
		return;
	}
	r = &a->index[a->count++];
	/* 32 bits of each, as pcap_dump(3PCAP) keeps: sf-pcap.c sign-extends seconds from 2038 on. */
	r->ts_ns = (uint64_t)(uint32_t)h->ts.tv_sec * 1000000000u +
	    (uint64_t)(uint32_t)h->ts.tv_usec * a->unit;
	r->offset = (uint32_t)a->used;
	r->caplen = h->caplen;
	r->wirelen = h->len;
	r->flags = 0;
	memcpy(a->data + a->used, packet, h->caplen);
	a->used = (a->used + h->caplen + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}
