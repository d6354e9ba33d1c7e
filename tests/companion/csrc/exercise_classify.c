/*
 * Decoding and choosing under sanitizers: packets that look like some of every kind, changed here and there, in
 * memory that ends where the block does; records that claim what they like; conditions of any shape.
 *
 *	exercise_classify SEED ROUNDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"

#define PACKETS		150	/* more than two groups of 64 */
#define ROWS		4	/* of the table of flows */
#define PLACES		64	/* of each table of addresses */
#define NODES		12

/* As in classify.c. */
struct address_table {
	const void	*places;
	uint64_t	 mask, start, factor, has_zero;
};

struct address_set {
	struct address_table	four, six;
};

struct flow_table {
	void		*rows;
	uint64_t	 shift, secret[2], forgotten;
	uint32_t	 limit, directed, now, unused;
};

struct node {
	uint32_t	 kind, bits, left, right;
	void		*data;
};

uint32_t pczc_choose(const struct node *, uint32_t, const u_char *, uint64_t, const struct record *, uint32_t,
    uint32_t, int64_t *);
uint32_t pczc_choose_rows(const struct node *, uint32_t, const struct fields *, uint32_t, int64_t *);
void pczc_enter_four(const struct address_table *, uint32_t *, const uint32_t *, uint64_t);
void pczc_enter_six(const struct address_table *, uint64_t *, const uint64_t *, uint64_t);
int64_t pczc_gather(const u_char *, uint64_t, const struct record *, uint32_t, const int64_t *, uint64_t,
    struct record *, u_char *, uint64_t);

static const char *const samples[] = {
	/* Ethernet, a tag, IPv4 with an option, TCP with options */
	"025a43000002025a43000001" "81000005" "0800" "4600003c1c46400040060000c0000201c633640294040000"
	    "d43101bb00000001000000026012fff0beef0000020405b4",
	/* stacked tags, IPv6 with three extension headers, UDP */
	"025a43000002025a43000001" "88a80001810000020800" "86dd",
	"025a43000002025a43000001" "86dd" "60012345002800402001" "0db800000000000000000000000120010db8000000000000"
	    "0000000000022c00010400000000110000010000000114e914e9000c12346d646e73",
	/* ARP; SCTP; ICMP */
	"ffffffffffff025a43000001" "0806" "0001080006040001025a43000001c0000201000000000000c0000202",
	"025a43000002025a43000001" "0800" "450000200000000040840000c0000201c6336402" "0b590b5900000001deadbeef",
	"025a43000002025a43000001" "0800" "4500001c0000000040010000c0000201c6336402" "0800f7ff00000000",
};
#define SAMPLES	(sizeof(samples) / sizeof(samples[0]))

static u_int
below(u_int n)
{
	return ((u_int)random() % n);
}

static uint32_t
hex(const char *text, u_char *out)
{
	uint32_t n;
	u_int value;

	for (n = 0; sscanf(text + 2 * n, "%2x", &value) == 1; n++)
		out[n] = (u_char)value;
	return (n);
}

/* Any packet into `out`, of at most 128 bytes; gives its length. */
static uint32_t
make_packet(u_char *out)
{
	uint32_t length, skip, i;

	length = hex(samples[below(SAMPLES)], out);
	skip = below(4) ? 0 : 14;	/* as if it were raw IP */
	memmove(out, out + skip, length - skip);
	length -= skip;
	for (i = below(4); i > 0; i--)
		out[below(length)] = (u_char)random();
	return (below(4) ? length : below(length + 1));
}

struct made {
	u_char		*bytes;
	uint64_t	 length;
	struct record	 index[PACKETS];
	uint32_t	 count;
};

static void
make_block(struct made *b)
{
	u_char all[PACKETS * 128];
	uint32_t i, n;

	b->count = below(PACKETS + 1);
	b->length = 0;
	for (i = 0; i < b->count; i++) {
		n = make_packet(all + b->length);
		memset(&b->index[i], 0, sizeof(b->index[i]));
		b->index[i].offset = (uint32_t)b->length;
		b->index[i].caplen = n;
		b->length += n;
		if (below(20) == 0)
			b->index[i].offset = (uint32_t)random() << below(2);
		if (below(20) == 0)
			b->index[i].caplen = (uint32_t)random() << below(2);
	}
	b->bytes = malloc(b->length + (b->length == 0));
	memcpy(b->bytes, all, b->length);
}

static void
check(int holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "exercise_classify: %s\n", what);
		exit(1);
	}
}

static uint32_t four_places[PLACES];
static uint64_t six_places[2 * PLACES];
static struct address_set set;
static struct flow_table flows;
static uint8_t table[65536];

static void
make_tables(void)
{
	uint32_t four[PLACES / 4], i;
	uint64_t six[PLACES / 2];

	for (i = 0; i < PLACES / 4; i++) {
		four[i] = i == 0 ? 0xc0000201 : 1 + (uint32_t)random();
		six[2 * i] = i == 0 ? 0x20010db800000000 : (uint64_t)random();
		six[2 * i + 1] = 1 + (uint64_t)below(3);
	}
	memset(four_places, 0, sizeof(four_places));
	memset(six_places, 0, sizeof(six_places));
	set.four.mask = set.six.mask = PLACES - 1;
	set.four.start = set.six.start = (uint64_t)random() << 32 | 1;
	set.four.factor = set.six.factor = (uint64_t)random() << 33 | 1;
	set.four.has_zero = set.six.has_zero = below(2);
	set.four.places = below(4) ? four_places : NULL;
	set.six.places = below(4) ? six_places : NULL;
	pczc_enter_four(&set.four, four_places, four, below(PLACES / 4 + 1));
	pczc_enter_six(&set.six, six_places, six, below(PLACES / 4 + 1));
	memset(table, 0, sizeof(table));
	for (i = 0; i < 20000; i++)
		table[below(sizeof(table))] = 1;

	free(flows.rows);
	check(posix_memalign(&flows.rows, 128, ROWS * 128) == 0, "no memory");
	memset(flows.rows, 0, ROWS * 128);
	flows.shift = 61;	/* 64 less the bits of ROWS, and one that is shifted before */
	flows.secret[0] = (uint64_t)random() << 20;
	flows.now = below(2) ? 0xfffffff0u : 0;
	flows.limit = 1 + below(3);
	flows.directed = below(2);
}

/* A tree: each node's parts come before it. */
static void
make_tree(struct node *nodes)
{
	uint32_t i;

	for (i = 0; i < NODES; i++) {
		struct node *n = &nodes[i];

		n->kind = i < 3 ? 3 + below(5) : below(8);
		n->left = i == 0 ? 0 : below(i);
		n->right = i == 0 ? 0 : below(i);
		n->bits = n->kind == 3 ? (uint32_t)1 << below(18) : 1 + below(3);
		n->data = n->kind == 5 ? (void *)&set : n->kind == 7 ? (void *)&flows : table;
	}
}

static void
check_rows(const struct made *b, const struct fields *rows)
{
	uint32_t i, caplen;

	for (i = 0; i < b->count; i++) {
		caplen = record_caplen(&b->index[i], b->length);
		check((uint64_t)rows[i].payload_offset + rows[i].payload_length <= caplen, "a payload too long");
		check(rows[i].transport_offset <= caplen, "a transport header outside");
		check(rows[i].vlan_count <= 8, "too many tags");
	}
}

static void
check_positions(const int64_t *positions, uint32_t chosen, uint32_t count)
{
	uint32_t i;

	check(chosen <= count, "more chosen than there are");
	for (i = 0; i < chosen; i++)
		check(positions[i] < count && (i == 0 || positions[i] > positions[i - 1]), "positions");
}

/* Some of them, some twice, into a buffer that may be too small; now and then one that there is not. */
static void
gather(const struct made *b)
{
	static const int64_t outside[] = { -1, INT64_MIN, INT64_MAX, UINT32_MAX };
	uint32_t wanted = b->count ? below(2 * b->count) : 0, size = below(4000), i;
	int64_t *positions = malloc((wanted + 1) * sizeof(*positions)), copied;
	struct record *rows = malloc((wanted + 1) * sizeof(*rows));
	u_char *out = malloc(size + (size == 0));

	for (i = 0; i < wanted; i++)
		positions[i] = below(b->count);
	copied = pczc_gather(b->bytes, b->length, b->index, b->count, positions, wanted, rows, out, size);
	check(copied >= 0 && copied <= wanted, "more copied than was asked for");
	for (i = 0; i < copied; i++)
		check(rows[i].offset + rows[i].caplen <= size && (rows[i].caplen == 0 || memcmp(out + rows[i].offset,
		    b->bytes + b->index[positions[i]].offset, rows[i].caplen) == 0), "copied");
	if (wanted != 0) {
		positions[below(wanted)] = random() % 2 ? b->count : outside[random() % 4];
		check(pczc_gather(b->bytes, b->length, b->index, b->count, positions, wanted, rows, out, size) == -1,
		    "a packet that is none is copied");
	}
	free(out);
	free(rows);
	free(positions);
}

static void
exercise(void)
{
	static struct made b;
	struct node nodes[NODES];
	struct fields *rows;
	int64_t *positions;
	uint32_t link = below(8), chosen;

	make_block(&b);
	make_tables();
	make_tree(nodes);
	rows = malloc((b.count + 1) * sizeof(*rows));
	positions = malloc((b.count + 1) * sizeof(*positions));
	pczc_decode(b.bytes, b.length, b.index, b.count, link, rows);
	check_rows(&b, rows);
	chosen = pczc_choose_rows(nodes, NODES - 1, rows, b.count, positions);
	check_positions(positions, chosen, b.count);
	chosen = pczc_choose(nodes, NODES - 1, b.bytes, b.length, b.index, b.count, link, positions);
	check_positions(positions, chosen, b.count);
	gather(&b);
	free(positions);
	free(rows);
	free(b.bytes);
}

int
main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 1000;

	srandom(argc > 1 ? (u_int)atoi(argv[1]) : 1);
	while (rounds-- > 0)
		exercise();
	free(flows.rows);
	return (0);
}
