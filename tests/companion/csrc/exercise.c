/*
 * The companion library without an interpreter, under sanitizers: objects that count themselves stand in for
 * Python's, and any allocation can be made to fail.  Records claim what they like.
 *
 *	exercise SEED ROUNDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "records.h"

struct object {
	int		 references;
	ssize_t		 size;		/* of a list: its items; else of memory */
	struct object	**items;
	char		*memory;
};

struct api {
	void	*functions[8];
};

void *pczc_packets(const struct api *, const u_char *, uint64_t, const struct record *, uint32_t);
void *pczc_pairs(const struct api *, const u_char *, uint64_t, const struct record *, uint32_t);
void *pczc_times(const struct api *, const struct record *, uint32_t);
void *pczc_float_times(const struct api *, const struct record *, uint32_t, int);
void *pczc_records(const struct api *, void *, const struct record *, uint32_t);
struct arena *pczc_arena_new(uint64_t, uint32_t, uint32_t);
void pczc_arena_free(struct arena *);
void pczc_collect(u_char *, const struct pcap_pkthdr *, const u_char *);
uint64_t pczc_savefile_size(const struct record *, uint32_t, uint64_t);
void pczc_savefile_records(const u_char *, uint64_t, const struct record *, uint32_t, uint32_t, u_char *);

static long living, failures_in;	/* fail when this reaches 0 */

static void
die(const char *what)
{
	fprintf(stderr, "exercise: %s\n", what);
	exit(1);
}

static struct object *
make(ssize_t size)
{
	struct object *o;

	if (--failures_in == 0)
		return (NULL);
	o = calloc(1, sizeof(*o));
	o->references = 1;
	o->size = size;
	living++;
	return (o);
}

static void
decref(struct object *o)
{
	ssize_t i;

	if (--o->references > 0)
		return;
	for (i = 0; o->items != NULL && i < o->size; i++)
		if (o->items[i] != NULL)
			decref(o->items[i]);
	free(o->items);
	free(o->memory);
	free(o);
	living--;
}

static void *
list_new(ssize_t size)
{
	struct object *o = make(size);

	if (o != NULL)
		o->items = calloc((size_t)size + 1, sizeof(*o->items));
	return (o);
}

static int
list_set(struct object *list, ssize_t i, struct object *item)
{
	if (i < 0 || i >= list->size || list->items[i] != NULL)
		die("a place in a list that is none, or is taken");
	list->items[i] = item;
	return (0);
}

static void *
bytes(const char *from, ssize_t size)
{
	struct object *o = make(size);

	if (o != NULL) {
		o->memory = malloc((size_t)size + 1);
		memcpy(o->memory, from, (size_t)size);	/* reads all of it */
	}
	return (o);
}

static void *
number(unsigned long long value)
{
	(void)value;
	return (make(0));
}

static void *
real(double value)
{
	(void)value;
	return (make(0));
}

static void *
alloc(void *type, ssize_t size)
{
	struct object *o = make(size);

	(void)type;
	if (o != NULL)
		o->memory = malloc((size_t)size);
	return (o);
}

static char *
memory(struct object *o)
{
	return (o->memory);
}

static const struct api api = { {
	(void *)list_new, (void *)list_set, (void *)decref, (void *)bytes,
	(void *)number, (void *)real, (void *)alloc, (void *)memory
} };

static uint32_t
any(uint32_t limit)
{
	static const uint32_t odd[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };

	return (rand() % 8 == 0 ? odd[rand() % 5] : (uint32_t)rand() % limit);
}

/* One list of each kind; with a failure it has to be NULL and nothing may be left. */
static void
lists(const u_char *base, uint64_t length, const struct record *index, uint32_t count)
{
	struct object *made;
	long wanted;
	int kind;

	for (kind = 0; kind < 6; kind++) {
		wanted = failures_in = rand() % 2 ? rand() % (long)(2 * count + 3) : 0;
		switch (kind) {
		case 0: made = pczc_packets(&api, base, length, index, count); break;
		case 1: made = pczc_times(&api, index, count); break;
		case 2: made = pczc_float_times(&api, index, count, 0); break;
		case 3: made = pczc_float_times(&api, index, count, 1); break;
		case 4: made = pczc_pairs(&api, base, length, index, count); break;
		default: made = pczc_records(&api, NULL, index, count); break;
		}
		if (made == NULL && failures_in > 0)
			die("a list failed though nothing else had");
		if (made != NULL && wanted > 0 && failures_in <= 0)
			die("a list is there though one of its objects failed");
		if (made != NULL)
			decref(made);
		if (living != 0)
			die("objects are left");
	}
	failures_in = -1;
}

static void
savefile(const u_char *base, uint64_t length, const struct record *index, uint32_t count)
{
	uint64_t size = pczc_savefile_size(index, count, length);
	u_char *out = malloc(size + 1);

	pczc_savefile_records(base, length, index, count, rand() % 2 ? 1 : 1000, out);
	free(out);
}

static void
arena(const u_char *base, uint64_t length)
{
	struct arena *a = pczc_arena_new(64, 1 + rand() % 3, 1000);
	struct pcap_pkthdr h;
	uint64_t bytes_in = 0;
	int i, packets = rand() % 50;

	memset(&h, 0, sizeof(h));
	for (i = 0; i < packets; i++) {
		h.ts.tv_sec = rand();
		h.caplen = (uint32_t)rand() % (uint32_t)(length + 1);
		h.len = h.caplen + 3;
		bytes_in += h.caplen;
		pczc_collect((u_char *)a, &h, base);
	}
	if (a->count != (uint32_t)packets || a->lost != 0 || a->used < bytes_in)
		die("an arena lost packets");
	for (i = 0; i < packets; i++)
		if (memcmp(a->data + a->index[i].offset, base, a->index[i].caplen) != 0)
			die("an arena has other bytes");
	pczc_arena_free(a);
}

int
main(int argc, char **argv)
{
	struct record *index;
	u_char *base;
	uint32_t length, count, i;
	int round;

	if (argc != 3)
		die("usage: exercise SEED ROUNDS");
	srand((unsigned)atoi(argv[1]));
	for (round = 0; round < atoi(argv[2]); round++) {
		/* To the byte, so that one too many is seen. */
		length = (uint32_t)rand() % 2000;
		count = (uint32_t)rand() % 40;
		base = malloc(length ? length : 1);
		index = malloc((count ? count : 1) * sizeof(*index));
		for (i = 0; i < length; i++)
			base[i] = (u_char)i;
		for (i = 0; i < count; i++) {
			index[i].ts_ns = (uint64_t)rand() << 33 | (uint64_t)rand();
			index[i].offset = any(length + 2);
			index[i].caplen = any(length + 2);
			index[i].wirelen = any(70000);
			index[i].flags = 0;
		}
		lists(base, length, index, count);
		savefile(base, length, index, count);
		if (length)
			arena(base, length);
		free(base);
		free(index);
	}
	printf("%d rounds\n", round);
	return (0);
}
