/* What using objects again (reuse.h) does once in a while: find out how, make new ones, put bytes aside. */
#include "reuse.h"

struct layout pczc_layout;

/* A tuple of new objects, whose turn comes again. */
object *
pczc_tuple(struct turn *turn, object *const *items, int count)
{
	object *tuple = pczc_py.tuple_new(count), *had = turn->tuple;	/* which the collector may have changed */
	int i;

	for (i = 0; i < count; i++)
		if (tuple != NULL)
			pczc_py.tuple_set(tuple, i, items[i]);
		else
			pczc_py.decref(items[i]);
	memset(turn, 0, sizeof(*turn));
	if (pczc_layout.items != 0 && tuple != NULL)
		turn->tuple = shared(tuple);
	pczc_py.decref(had);
	return (tuple);
}

int
pczc_time_anew(struct turn *turn, object **place, uint64_t value)
{
	if (!replace(place, pczc_py.from_u64(value)))
		return (0);
	turn->three_digits = pczc_layout.numbers && value >= THREE_DIGITS;
	return (1);
}

static struct spare *
spares_of(struct cells *cells, uint32_t size)
{
	return (cells->spares[31 - __builtin_clz(size) - LEAST]);
}

/* Put bytes aside which nobody else has, rather than such as have less room. */
static void
keep(struct cells *cells, object *bytes, uint32_t room)
{
	struct spare *spare = spares_of(cells, room);

	if (spare[0].bytes != NULL && (spare[1].bytes == NULL || spare[1].room < spare[0].room))
		spare++;
	if (spare->bytes != NULL)
		pczc_py.decref(spare->bytes);
	spare->bytes = bytes;
	spare->room = room;
}

static object *
spare_of(struct cells *cells, uint32_t size, uint32_t *room)
{
	struct spare *spare = spares_of(cells, size), *end = spare + TURNS;
	object *bytes;

	for (; spare < end; spare++)
		if (spare->bytes != NULL && spare->room >= size) {
			bytes = spare->bytes;
			*room = spare->room;
			spare->bytes = NULL;
			return (bytes);
		}
	return (NULL);
}

int
pczc_packet_anew(struct cells *cells, struct turn *turn, object **place, const char *data, uint32_t size)
{
	int of_use = pczc_layout.bytes && size >= 1 << LEAST && size < 1 << (LEAST + SIZES);
	object *made = NULL;

	if (turn->room != 0 && count_of(*place) == 1) {
		keep(cells, *place, turn->room);
		*place = NULL;
	}
	turn->room = 0;
	if (of_use)
		made = spare_of(cells, size, &turn->room);
	if (made != NULL) {
		set_bytes(made, data, size);
		return (replace(place, made));
	}
	if (!replace(place, pczc_py.bytes(data, size)))
		return (0);
	turn->room = of_use ? size : 0;
	return (1);
}

/* Let go of all that is remembered. */
void
pczc_forget(struct cells *cells)
{
	struct cells had = *cells;
	int i, size;

	memset(cells, 0, sizeof(*cells));
	for (i = 0; i < TURNS; i++) {
		pczc_py.decref(had.turns[i].tuple);
		for (size = 0; size < SIZES; size++)
			pczc_py.decref(had.spares[size][i].bytes);
	}
}

static int
has_count(object *o)
{
	int found;

	if (count_of(o) != 1)
		return (0);
	pczc_py.incref(o);
	found = count_of(o) == 2;
	pczc_py.decref(o);
	return (found);
}

static int
has_bytes(object *o, int64_t size)
{
	struct bytes *bytes = o;

	return (pczc_py.bytes_memory(o) == bytes->data && bytes->size == size && bytes->hash == -1 &&
	    pczc_py.hash(o) == bytes->hash);
}

static int
has_digits(void)
{
	static const uint64_t one = 0x7123456789abcdefu, other = 0x1fedcba987654321u;
	struct number wanted, *n = pczc_py.from_u64(one);
	int found;

	if (n == NULL)
		return (0);
	set_digits(&wanted, one);
	found = count_of(n) == 1 && memcmp(n->digits, wanted.digits, sizeof(wanted.digits)) == 0;
	if (found) {
		set_digits(n, other);
		found = pczc_py.as_u64(n) == other;
		set_digits(n, one);
	}
	pczc_py.decref(n);
	return (found);
}

static int
has_double(void)
{
	static const double one = 1790000000.123456;
	object *o = pczc_py.from_double(one);
	int found;

	if (o == NULL)
		return (0);
	found = count_of(o) == 1 && memcmp((char *)o + offsetof(struct real, value), &one, sizeof(one)) == 0;
	pczc_py.decref(o);
	return (found);
}

/* Behind the size are the items, or since 3.14 a hash and the items. */
static void
find_items(struct layout *layout, object *o)
{
	object *tuple = pczc_py.tuple_new(1), *there[2];
	int64_t hash;

	if (tuple == NULL)
		return;
	pczc_py.incref(o);
	pczc_py.tuple_set(tuple, 0, o);
	memcpy(there, (char *)tuple + pczc_head + 8, sizeof(there));
	memcpy(&hash, there, sizeof(hash));
	if (there[0] == o)
		layout->items = pczc_head + 8;
	else if (there[1] == o && hash == -1) {
		layout->hash = pczc_head + 8;
		layout->items = pczc_head + 16;
	}
	pczc_py.decref(tuple);
}

/* See how objects of this interpreter lie in memory. */
void
pczc_learn(void)
{
	static const char sample[] = "pypcapzc";
	object *o;

	memset(&pczc_layout, 0, sizeof(pczc_layout));
	if (pczc_parallel || pczc_head != 2 * sizeof(void *) || sizeof(void *) != 8 ||
	    __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
		return;
	o = pczc_py.bytes(sample, sizeof(sample) - 1);
	if (o == NULL)
		return;
	if (has_count(o)) {
		pczc_layout.bytes = has_bytes(o, sizeof(sample) - 1);
		pczc_layout.numbers = has_digits();
		pczc_layout.reals = has_double();
		find_items(&pczc_layout, o);
	}
	pczc_py.decref(o);
}
