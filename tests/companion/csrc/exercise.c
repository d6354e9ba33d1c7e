/*
 * The companion library's arenas and savefile records under sanitizers.  Records claim what they like.
 *
 *	exercise SEED ROUNDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "records.h"

struct arena *pczc_arena_new(uint64_t, uint32_t, uint32_t);
void pczc_arena_free(struct arena *);
void pczc_collect(u_char *, const struct pcap_pkthdr *, const u_char *);
uint64_t pczc_savefile_size(const struct record *, uint32_t, uint64_t);
void pczc_savefile_records(const u_char *, uint64_t, const struct record *, uint32_t, uint32_t, u_char *);

static void
die(const char *what)
{
	fprintf(stderr, "exercise: %s\n", what);
	exit(1);
}

static uint32_t
any(uint32_t limit)
{
	static const uint32_t odd[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };

	return (rand() % 8 == 0 ? odd[rand() % 5] : (uint32_t)rand() % limit);
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
		savefile(base, length, index, count);
		if (length)
			arena(base, length);
		free(base);
		free(index);
	}
	printf("%d rounds\n", round);
	return (0);
}
