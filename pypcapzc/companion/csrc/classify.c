/*
 * Which packets of a block are chosen: what the conditions of pypcapzc/selection decide with numpy, for many
 * packets in one call.
 *
 * An expression is a tree.  It is asked about groups of 64 packets, whose answers are the bits of a number, node
 * by node: the lookups of a node then stand side by side, and each waits for the memory together with the
 * others.  As with && and || the right side is asked only about the packets that the left side left open.
 *
 * Nothing here needs the interpreter: callers release its lock.
 */
#include <string.h>

#include "fields.h"
#include "tables.h"

#define GROUP		64

struct address_set {
	struct address_table	four, six;
};

enum kind { BOTH, EITHER, NOT, HAS, PROTOCOL, ADDRESS, PORT, HEADS };

#define SIDE_SRC	1u
#define SIDE_DST	2u

/* _Node of selection/native.py has the same fields. */
struct node {
	uint32_t	 kind;
	uint32_t	 bits;		/* HAS: F_*; ADDRESS, PORT: SIDE_*, either of which will do */
	uint32_t	 left, right;	/* BOTH, EITHER; NOT: left */
	void		*data;		/* struct address_set, struct flow_table, or a byte for each number */
};

/* Enter `count` IPv4 addresses, none of which is 0; there is more room than that. */
void
pczc_enter_four(const struct address_table *t, uint32_t *places, const uint32_t *members, uint64_t count)
{
	enter_four(t, places, members, count);
}

/* Enter `count` IPv6 addresses, likewise. */
void
pczc_enter_six(const struct address_table *t, uint64_t *places, const uint64_t *members, uint64_t count)
{
	uint64_t n, *at, place;

	for (n = 0; n < count; n++) {
		const uint64_t *member = members + 2 * n;

		for (place = place_of_six(t, member[0], member[1]);; place = (place + 1) & t->mask) {
			at = places + 2 * place;
			if ((at[0] | at[1]) == 0 || (at[0] == member[0] && at[1] == member[1]))
				break;
		}
		at[0] = member[0];
		at[1] = member[1];
	}
}

/* The packets among `asked` that have addresses, of IPv6 or not. */
static void
part_by_version(const struct fields *rows, uint64_t asked, uint64_t *four, uint64_t *six)
{
	uint64_t left, bit;

	*four = *six = 0;
	for (left = asked; left != 0; left &= left - 1) {
		const struct fields *f = &rows[__builtin_ctzll(left)];

		bit = left & -left;
		if (!(f->layers & F_ADDRESSES))
			continue;
		*(f->ip_version == 6 ? six : four) |= bit;
	}
}

/* Where the addresses of a packet are, if they are in a table. */
struct places {
	uint64_t	src, dst;
};

static uint64_t
ask_four(const struct address_table *t, const struct fields *rows, uint64_t asked, uint32_t sides)
{
	const uint32_t *members = t->places;
	struct places place[GROUP];
	uint64_t left, found = 0;
	int i;

	for (left = asked; left != 0; left &= left - 1) {
		i = __builtin_ctzll(left);
		if (sides & SIDE_SRC) {
			place[i].src = place_of_four(t, (uint32_t)rows[i].src_lo);
			__builtin_prefetch(members + place[i].src);
		}
		if (sides & SIDE_DST) {
			place[i].dst = place_of_four(t, (uint32_t)rows[i].dst_lo);
			__builtin_prefetch(members + place[i].dst);
		}
	}
	for (left = asked; left != 0; left &= left - 1) {
		i = __builtin_ctzll(left);
		if (((sides & SIDE_SRC) && has_four(t, place[i].src, (uint32_t)rows[i].src_lo)) ||
		    ((sides & SIDE_DST) && has_four(t, place[i].dst, (uint32_t)rows[i].dst_lo)))
			found |= left & -left;
	}
	return (found);
}

static uint64_t
ask_six(const struct address_table *t, const struct fields *rows, uint64_t asked, uint32_t sides)
{
	const uint64_t *members = t->places;
	struct places place[GROUP];
	uint64_t left, found = 0;
	int i;

	for (left = asked; left != 0; left &= left - 1) {
		i = __builtin_ctzll(left);
		if (sides & SIDE_SRC) {
			place[i].src = place_of_six(t, rows[i].src_hi, rows[i].src_lo);
			__builtin_prefetch(members + 2 * place[i].src);
		}
		if (sides & SIDE_DST) {
			place[i].dst = place_of_six(t, rows[i].dst_hi, rows[i].dst_lo);
			__builtin_prefetch(members + 2 * place[i].dst);
		}
	}
	for (left = asked; left != 0; left &= left - 1) {
		i = __builtin_ctzll(left);
		if (((sides & SIDE_SRC) && has_six(t, place[i].src, rows[i].src_hi, rows[i].src_lo)) ||
		    ((sides & SIDE_DST) && has_six(t, place[i].dst, rows[i].dst_hi, rows[i].dst_lo)))
			found |= left & -left;
	}
	return (found);
}

static uint64_t
ask_addresses(const struct node *n, const struct fields *rows, uint64_t asked)
{
	const struct address_set *set = n->data;
	uint64_t four, six, found = 0;

	part_by_version(rows, asked, &four, &six);
	if (set->four.places != NULL)
		found |= ask_four(&set->four, rows, four, n->bits);
	if (set->six.places != NULL)
		found |= ask_six(&set->six, rows, six, n->bits);
	return (found);
}

static uint64_t
ask_simple(const struct node *n, const struct fields *rows, uint64_t asked)
{
	const uint8_t *table = n->data;
	uint64_t left, found = 0;
	int yes;

	for (left = asked; left != 0; left &= left - 1) {
		const struct fields *f = &rows[__builtin_ctzll(left)];

		if (n->kind == HAS)
			yes = (f->layers & n->bits) == n->bits;
		else if (n->kind == PROTOCOL)
			yes = f->ip_version != 0 && table[f->protocol];
		else
			yes = (f->layers & F_PORTS) != 0 &&
			    (((n->bits & SIDE_SRC) && table[f->src_port]) ||
			    ((n->bits & SIDE_DST) && table[f->dst_port]));
		if (yes)
			found |= left & -left;
	}
	return (found);
}

/* The flow of a packet as one number, not 0. */
static inline uint64_t
flow_of(const struct flow_table *t, const struct fields *f)
{
	uint64_t hi = f->src_hi, lo = f->src_lo, hi2 = f->dst_hi, lo2 = f->dst_lo, h;
	uint64_t port = f->src_port, port2 = f->dst_port;
	int swap = !t->directed &&
	    (hi != hi2 ? hi > hi2 : lo != lo2 ? lo > lo2 : port > port2);

	h = t->secret[0];
	if (f->ip_version == 6) {
		h = mixed(h ^ (swap ? hi2 : hi));
		h = mixed(h ^ (swap ? hi : hi2));
		h = mixed(h ^ (swap ? lo2 : lo));
		h = mixed(h ^ (swap ? lo : lo2));
	} else
		h = mixed(h ^ (swap ? lo2 << 32 | lo : lo << 32 | lo2));
	h ^= swap ? port2 << 48 | port << 32 : port << 48 | port2 << 32;
	h ^= (uint64_t)f->ip_version << 8 | f->protocol;
	h = mixed(h + t->secret[1]);
	return (h + (h == 0));
}

static uint64_t
ask_heads(struct flow_table *t, const struct fields *rows, uint64_t asked)
{
	uint64_t flow[GROUP], left, found = 0, parts_of_ip = 0;
	struct flow_row *row;
	int i;

	for (left = asked; left != 0; left &= left - 1) {
		i = __builtin_ctzll(left);
		if (rows[i].ip_version == 0)
			continue;
		parts_of_ip |= left & -left;
		flow[i] = flow_of(t, &rows[i]);
		row = row_of(t, flow[i]);
		__builtin_prefetch(row->key, 1);
		__builtin_prefetch(row->packets, 1);
	}
	for (left = parts_of_ip; left != 0; left &= left - 1) {
		i = __builtin_ctzll(left);
		if (is_head(t, flow[i]))
			found |= left & -left;
	}
	return (found);
}

/* Which of the packets `asked` about the expression below a node chooses.  Python bounds the depth. */
static uint64_t
ask(const struct node *nodes, uint32_t at, const struct fields *rows, uint64_t asked)
{
	const struct node *n = &nodes[at];
	uint64_t found;

	if (asked == 0)
		return (0);
	switch (n->kind) {
	case BOTH:
		return (ask(nodes, n->right, rows, ask(nodes, n->left, rows, asked)));
	case EITHER:
		found = ask(nodes, n->left, rows, asked);
		return (found | ask(nodes, n->right, rows, asked & ~found));
	case NOT:
		return (asked & ~ask(nodes, n->left, rows, asked));
	case ADDRESS:
		return (ask_addresses(n, rows, asked));
	case HEADS:
		return (ask_heads(n->data, rows, asked));
	default:
		return (ask_simple(n, rows, asked));
	}
}

static inline uint32_t
group_size(uint32_t left)
{
	return (left < GROUP ? left : GROUP);
}

/* Ask about a group that begins with packet `first`; the chosen ones go to `positions`. */
static inline uint32_t
choose_group(const struct node *nodes, uint32_t root, const struct fields *rows, uint32_t first,
    uint32_t count, int64_t *positions)
{
	uint64_t found = ask(nodes, root, rows, ~(uint64_t)0 >> (GROUP - count));
	uint32_t n = 0;

	for (; found != 0; found &= found - 1)
		positions[n++] = (int64_t)first + __builtin_ctzll(found);
	return (n);
}

/* The positions of the chosen packets, ascending, of `count` decoded ones.  Gives how many they are. */
uint32_t
pczc_choose_rows(const struct node *nodes, uint32_t root, const struct fields *rows, uint32_t count,
    int64_t *positions)
{
	uint32_t first, chosen = 0;

	for (first = 0; first < count; first += group_size(count - first))
		chosen += choose_group(nodes, root, rows + first, first, group_size(count - first),
		    positions + chosen);
	return (chosen);
}

/* The same of the packets of a block, which are decoded a group at a time, in memory that is near. */
uint32_t
pczc_choose(const struct node *nodes, uint32_t root, const u_char *base, uint64_t length,
    const struct record *index, uint32_t count, uint32_t link, int64_t *positions)
{
	struct fields rows[GROUP];
	uint32_t first, size, chosen = 0;

	if (nodes[root].kind == HAS && nodes[root].bits == 0) {	/* all, whatever they are */
		for (; chosen < count; chosen++)
			positions[chosen] = chosen;
		return (chosen);
	}
	for (first = 0; first < count; first += size) {
		size = group_size(count - first);
		pczc_decode_keys(base, length, index + first, size, count - first, link, rows);
		chosen += choose_group(nodes, root, rows, first, size, positions + chosen);
	}
	return (chosen);
}
