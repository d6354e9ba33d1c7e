/*
 * The callback that collects what a stock libpcap hands out, packet by packet, into one piece of memory with
 * the index that the patched one would lend: pcap_dispatch(3PCAP) runs it, and no Python.
 */
#include <stdlib.h>
#include <string.h>

#include "arena.h"

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

int
arena_make_room(struct arena *a, uint64_t bytes)
{
	uint64_t needed = a->used + bytes, size;

	if (needed > UINT32_MAX)
		return (-1);
	for (size = a->size; size < needed; size *= 2)
		;
	if (size > a->size) {
		if (grow((void **)&a->data, size) != 0)
			return (-1);
		a->size = size;
	}
	return (0);
}

static int
make_index_room(struct arena *a)
{
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

	if (arena_make_room(a, h->caplen) != 0 || make_index_room(a) != 0) {
		a->lost++;
		return;
	}
	r = &a->index[a->count++];
	/* 32 bits of each, as pcap_dump(3PCAP) keeps: sf-pcap.c sign-extends seconds from 2038 on. */
	r->ts_ns = (uint64_t)(uint32_t)h->ts.tv_sec * 1000000000u +
	    (uint64_t)(uint32_t)h->ts.tv_usec * a->unit;
	r->offset = (uint32_t)a->used;
	/* Stored just now, one by one: loaded in one go, as compilers would, they would be waited for. */
	r->caplen = *(const volatile uint32_t *)&h->caplen;
	r->wirelen = *(const volatile uint32_t *)&h->len;
	r->flags = 0;
	memcpy(a->data + a->used, packet, h->caplen);
	a->used = (a->used + h->caplen + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}
