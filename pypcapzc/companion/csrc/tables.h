/* The tables that decide about packets: sets of addresses, and how many packets of each flow there were. */
#ifndef pypcapzc_tables_h
#define pypcapzc_tables_h

#include <stdint.h>

#define FILL_AHEAD	16	/* members whose places are asked for before they are entered */

/*
 * A hash table of addresses: HashSet of pypcapzc/selection/hashing.py, which explains it.  A place that is all 0
 * is free, so the address of zeros is kept apart.
 */
struct address_table {
	const void	*places;	/* u32 a place; of IPv6 two u64, the upper half first */
	uint64_t	 mask;		/* places less 1; NULL places: no members but perhaps the zeros */
	uint64_t	 start, factor;	/* of the hash */
	uint64_t	 has_zero;
};

/* Hash of selection/hashing.py. */
static inline uint64_t
hashed(const struct address_table *t, uint64_t h, uint64_t word)
{
	h = (h ^ word) * t->factor;
	h = (h ^ h >> 29) * t->factor;
	return (h ^ h >> 32);
}

static inline uint64_t
place_of_four(const struct address_table *t, uint32_t address)
{
	return (hashed(t, t->start, address) & t->mask);
}

static inline uint64_t
place_of_six(const struct address_table *t, uint64_t hi, uint64_t lo)
{
	return (hashed(t, hashed(t, t->start, hi), lo) & t->mask);
}

static inline int
has_four(const struct address_table *t, uint64_t place, uint32_t address)
{
	const uint32_t *places = t->places;

	if (address == 0)
		return (t->has_zero != 0);
	for (; places[place] != 0; place = (place + 1) & t->mask)
		if (places[place] == address)
			return (1);
	return (0);
}

static inline int
has_six(const struct address_table *t, uint64_t place, uint64_t hi, uint64_t lo)
{
	const uint64_t *at;

	if ((hi | lo) == 0)
		return (t->has_zero != 0);
	for (;; place = (place + 1) & t->mask) {
		at = (const uint64_t *)t->places + 2 * place;
		if (at[0] == hi && at[1] == lo)
			return (1);
		if ((at[0] | at[1]) == 0)
			return (0);
	}
}

/* Enter `count` IPv4 addresses, none of which is 0; there is more room than that. */
static inline void
enter_four(const struct address_table *t, uint32_t *places, const uint32_t *members, uint64_t count)
{
	uint64_t n, place;

	for (n = 0; n < count; n++) {
		if (count - n > FILL_AHEAD)
			__builtin_prefetch(places + place_of_four(t, members[n + FILL_AHEAD]), 1);
		for (place = place_of_four(t, members[n]);
		    places[place] != 0 && places[place] != members[n];
		    place = (place + 1) & t->mask)
			;
		places[place] = members[n];
	}
}

/*
 * How many packets of each flow there were.  A row is two cache lines: what tells its flows apart, and what is
 * known of them.
 */
#define WAYS	8

struct flow_row {
	uint64_t	key[WAYS];	/* 0: free */
	uint32_t	packets[WAYS];	/* up to the limit */
	uint32_t	asked[WAYS];	/* when last, by `now` */
};

struct flow_table {
	struct flow_row	*rows;
	uint64_t	 shift;		/* 64 less the bits of a row's number */
	uint64_t	 secret[2];
	uint64_t	 forgotten;
	uint32_t	 limit;
	uint32_t	 directed;
	uint32_t	 now;		/* packets asked about; may wrap */
	uint32_t	 unused;
};

/* Every bit of the result depends on every bit of x: Stafford's variant 13 of MurmurHash3's finalizer. */
static inline uint64_t
mixed(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return (x ^ x >> 31);
}

static inline struct flow_row *
row_of(const struct flow_table *t, uint64_t flow)
{
	return (&t->rows[flow >> 1 >> t->shift]);
}

/* The way of a flow in its row; of a new one that of the flow which is forgotten for it. */
static inline int
way_of(struct flow_table *t, struct flow_row *row, uint64_t flow)
{
	int home = (int)(flow & (WAYS - 1)), way, oldest, i;

	/* A flow goes to the first free way from its home on, and ways do not become free again. */
	for (i = 0; i < WAYS; i++) {
		way = (home + i) & (WAYS - 1);
		if (row->key[way] == flow)
			return (way);
		if (row->key[way] == 0) {
			row->key[way] = flow;
			return (way);
		}
	}
	for (oldest = 0, i = 1; i < WAYS; i++)
		if (t->now - row->asked[i] > t->now - row->asked[oldest])
			oldest = i;
	t->forgotten++;
	row->key[oldest] = flow;
	row->packets[oldest] = 0;
	return (oldest);
}

/* Counts a packet of the flow, and tells whether it is one of the first. */
static inline int
is_head(struct flow_table *t, uint64_t flow)
{
	struct flow_row *row = row_of(t, flow);
	int way;

	t->now++;
	way = way_of(t, row, flow);
	row->asked[way] = t->now;
	if (row->packets[way] >= t->limit)
		return (0);
	row->packets[way]++;
	return (1);
}

#endif
