/*
 * pcapy-ng's profiles under sanitizers: packets that look like some or like nothing, records that claim what they
 * like, blocks from a libpcap that is made up.
 *
 *	exercise_profiles SEED ROUNDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "records.h"

#define PACKETS	300	/* more than profiles.c looks at in one piece */

/* As in profiles.c. */
struct profile_rules {
	uint32_t	security, l2_offset, flow_cutoff, dns_port;
	uint8_t		payload_ports[65536 / 8], head_ports[65536 / 8];
};

struct sieve {
	void		*profile;
	u_char		*buffer;
	uint64_t	size, used, overflow, counts[6];
	uint32_t	mask, class_base, room, count, admitted, failed;
	uint64_t	left;
	struct record	*records;
	uint32_t	*positions;
	uint8_t		*kinds, *classes;
};

struct zc_block {
	const u_char		*base;
	const struct record	*index;
	uint64_t		cookie;
	uint32_t		length, count, slot, flags;
};

struct zc_view {
	const u_char		*base;
	const struct record	*records;
	uint32_t		length, count, left;
};

struct zc_calls {
	int	(*next)(void *, struct zc_block *, int);
	int	(*next_viewed)(void *, struct zc_block *, int, void (*)(u_char *, const struct zc_view *), u_char *);
	int	(*release)(void *, struct zc_block *);
};

void *pczc_profile_new(const struct profile_rules *, const u_char *, uint64_t);
void pczc_profile_free(void *);
int pczc_sieve(struct sieve *, const u_char *, uint64_t, const struct record *, uint32_t);
void pczc_sieve_free(struct sieve *);
int pczc_sift(void *, const struct zc_calls *, struct sieve *, uint64_t, struct zc_block *, uint64_t *,
    uint32_t *);

struct made {
	struct zc_block	block;
	int		lent, given, end, fails;
};

static void
die(const char *what)
{
	fprintf(stderr, "exercise_profiles: %s\n", what);
	exit(1);
}

static int
next(void *pcap, struct zc_block *block, int timeout)
{
	struct made *made = pcap;

	if (timeout != 0 || made->lent)
		die("it waits, or keeps a block");
	if (made->given == made->end)
		return (0);
	made->given++;
	made->lent = 1;
	*block = made->block;
	return (1);
}

/* Shows some packets at a time, and fails at times when it has shown some. */
static int
next_viewed(void *pcap, struct zc_block *block, int timeout, void (*viewer)(u_char *, const struct zc_view *),
    u_char *user)
{
	struct made *made = pcap;
	uint32_t at = 0, count;
	struct zc_view v;

	if (made->given == made->end)
		return (0);
	while (at < made->block.count) {
		count = 1 + (uint32_t)rand() % 200;
		v.base = made->block.base;
		v.records = made->block.index + at;
		v.length = made->block.length;
		v.count = count < made->block.count - at ? count : made->block.count - at;
		at += v.count;
		v.left = made->block.count - at + (uint32_t)rand() % 3;
		viewer(user, &v);
		if (made->fails && rand() % 100 == 0)
			return (-1);
	}
	return (next(pcap, block, timeout));
}

static int
release(void *pcap, struct zc_block *block)
{
	struct made *made = pcap;

	if (!made->lent || block->base != made->block.base)
		die("it gives back what it has not");
	made->lent = 0;
	return (0);
}

static uint64_t
seen(const struct sieve *s)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < 6; i++)
		sum += s->counts[i];
	return (sum);
}

static void
check(const struct sieve *s, uint32_t count, const struct record *index)
{
	uint32_t i, admitted = 0;

	if (s->count != count)
		die("it has not looked at all");
	for (i = 0; i < count; i++) {
		if (!(s->mask >> s->classes[i] & 1))
			continue;
		if (s->positions[admitted] != i || s->kinds[admitted] != s->class_base + s->classes[i] ||
		    memcmp(&s->records[admitted], &index[i], sizeof(*index)) != 0)
			die("it tells of another packet");
		admitted++;
	}
	if (admitted != s->admitted)
		die("it tells of too many");
}

static void
sift(struct sieve *s, struct made *made, uint64_t limit)
{
	const struct zc_calls calls = { next, rand() % 2 ? next_viewed : NULL, release };
	struct zc_block block;
	uint64_t before = seen(s), passed, took = 0;
	uint32_t looked;
	int status;

	while ((status = pczc_sift(made, &calls, s, limit - took, &block, &passed, &looked)) != 0) {
		took += passed;
		if (status == -1) {	/* what was shown meanwhile does not count */
			if (!made->fails || seen(s) - before != took)
				die("it counts packets of a block that it has not");
			continue;
		}
		if (status == 1) {
			if (took != limit || looked == 0 || looked >= block.count)
				die("it keeps a block of which the program is not told");
			(void)release(made, &block);
		} else if (status == 3) {
			if (looked != block.count && looked != limit - took)
				die("it has not looked at all that fit");
			check(s, looked, block.index);
			took += looked;
			(void)release(made, &block);
		} else if (status != 2)
			die("a status that nobody gave");
		if (took == limit)
			break;
	}
	took += status == 0 ? passed : 0;
	if (took > limit || seen(s) - before != took)
		die("packets are counted wrongly");
}

static void
round_of(void)
{
	static struct profile_rules rules;
	static const u_char set[] = { 10, 0, 0, 1, 0, 0, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1 };
	uint32_t length = (uint32_t)rand() % 4000, count = (uint32_t)rand() % PACKETS, i;
	u_char *base = malloc(length ? length : 1), *buffer = malloc(2000);
	struct record *index = malloc((count ? count : 1) * sizeof(*index));
	struct sieve s;
	struct made made;

	for (i = 0; i < length; i++)
		base[i] = (u_char)(rand() % 4 ? "\x45\x08\0\x0a\x06\x50\x81\x02"[rand() % 8] : rand());
	for (i = 0; i < count; i++) {
		index[i].ts_ns = i;
		index[i].offset = (uint32_t)rand() % (length + 10);
		index[i].caplen = rand() % 9 ? (uint32_t)rand() % 100 : (uint32_t)rand() << 1;
		index[i].wirelen = index[i].flags = 0;
	}
	rules.security = rand() % 2;
	rules.l2_offset = (uint32_t)rand() % 17;
	rules.flow_cutoff = rand() % 30 ? 0 : 2;	/* its table is large */
	rules.dns_port = (uint32_t)rand() % 3 << 8;
	memset(rules.payload_ports, rand(), sizeof(rules.payload_ports));
	memset(rules.head_ports, rand(), sizeof(rules.head_ports));
	memset(&s, 0, sizeof(s));
	s.profile = pczc_profile_new(&rules, set, (uint64_t)rand() % 5);
	s.mask = (uint32_t)rand() % 64 & (uint32_t)rand() % 64;
	s.class_base = rand() % 2 ? 0 : 100;
	if (pczc_sieve(&s, base, length, index, count) != (int)s.admitted)
		die("it counts otherwise");
	check(&s, count, index);
	memset(&made, 0, sizeof(made));
	made.block.base = base;
	made.block.index = index;
	made.block.length = length;
	made.block.count = count;
	made.end = rand() % 100;
	made.fails = rand() % 2;
	sift(&s, &made, (uint64_t)rand() % (PACKETS * 100));
	pczc_sieve_free(&s);
	s.buffer = buffer;
	s.size = (uint64_t)rand() % 2001;
	made.lent = made.given = 0;
	sift(&s, &made, (uint64_t)rand() % (PACKETS * 100));
	if (s.used > s.size || s.records != NULL)
		die("it wrote too much");
	pczc_profile_free(s.profile);
	free(base);
	free(index);
	free(buffer);
}

int
main(int argc, char **argv)
{
	int round;

	if (argc != 3)
		die("usage: exercise_profiles SEED ROUNDS");
	srand((unsigned)atoi(argv[1]));
	for (round = 0; round < atoi(argv[2]); round++)
		round_of();
	printf("%d rounds\n", round);
	return (0);
}
