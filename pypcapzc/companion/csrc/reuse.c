/*
 * Using objects again that a program has let go of.
 *
 * A program that goes over packets one by one, as most do, has dropped the one before the last when the next one
 * is due.  So the last ones are remembered, with a reference, and one that nobody else refers to is filled with
 * the next packet: nobody can tell.  What a program keeps is never touched, as it is then referred to; that is
 * how zip() reuses its tuples, and the interpreter grows bytes in place.  Of a loop's 185 nanoseconds a packet of
 * 60 to 1500 bytes that saves 50, of the 104 of one of 64 bytes 16: below 512, where Python's own allocator serves,
 * bytes are as quickly made.
 *
 * It takes knowing where the interpreter has an object's count of references, the hash of bytes, the digits of an
 * int and what is in a tuple.  pczc_learn() looks, and what is elsewhere is made by the interpreter alone; so is
 * everything where threads run side by side.
 */
#include <string.h>

#include "python.h"

static int counted;	/* the count of references is known */
static int writable;	/* how bytes lie in memory */
static int numbered;	/* how ints do */
static size_t items_at;	/* where the first item of a tuple is, or 0 */

/* Where an object's count of references would not be what it seems: since 3.12 some have none. */
#define IMMORTAL	(1u << 28)

/* PyBytesObject. */
struct bytes {
	uint64_t	count;
	void		*type;
	int64_t		size;
	int64_t		hash;	/* -1: not computed */
	char		data[];
};

/* PyLongObject. */
struct number {
	uint64_t	count;
	void		*type;
	uint64_t	size;	/* and the sign */
	uint32_t	digits[3];
};

#define DIGIT		30		/* bits; PyLong_SHIFT */
#define THREE_DIGITS	(1ull << 2 * DIGIT)

/* In front, in 64 bits of which those of higher value are 0 or, since 3.12, something else. */
static uint32_t
count_of(const object *o)
{
	uint32_t count;

	memcpy(&count, o, sizeof(count));
	return (count);
}

/* The program's reference, beside ours: for objects that were made for us, and where counts are known. */
static object *
shared(object *o)
{
	uint32_t count = count_of(o) + 1;

	memcpy(o, &count, sizeof(count));
	return (o);
}

/* Let go of one reference, where counts are known. */
static void
drop(object *o)
{
	uint32_t count = count_of(o) - 1;

	if (count == 0 || count >= IMMORTAL)
		pczc_py.decref(o);
	else
		memcpy(o, &count, sizeof(count));
}

static int
is_free(const struct cell *cell)
{
	return (cell->made != NULL && count_of(cell->made) == 1);
}

/* Remember an object in place of one that is in use, or else has less room. */
static void
remember(struct cell cells[PAIRED], object *made, uint32_t size)
{
	struct cell *cell = &cells[0];

	if (is_free(&cells[0]) && (!is_free(&cells[1]) || cells[1].size < cells[0].size))
		cell = &cells[1];
	pczc_py.decref(cell->made);
	cell->made = shared(made);
	cell->size = size;
}

static struct cell *
find(struct cell cells[PAIRED], uint32_t size)
{
	int i;

	for (i = 0; i < PAIRED; i++)
		if (is_free(&cells[i]) && cells[i].size >= size)
			return (&cells[i]);
	return (NULL);
}

static void
set_digits(struct number *n, uint64_t value)
{
	n->digits[0] = (uint32_t)(value & ((1u << DIGIT) - 1));
	n->digits[1] = (uint32_t)(value >> DIGIT & ((1u << DIGIT) - 1));
	n->digits[2] = (uint32_t)(value >> 2 * DIGIT);
}

/* An int: of times since 2006, which have three digits, every other one is used again. */
object *
pczc_time(struct cells *cells, uint64_t value)
{
	object **cell = &cells->times[cells->turn++ % PAIRED], *made = *cell;

	if (!numbered || value < THREE_DIGITS)
		return (pczc_py.from_u64(value));
	if (made != NULL && count_of(made) == 1) {
		set_digits(made, value);
		return (shared(made));
	}
	made = pczc_py.from_u64(value);
	if (made == NULL)
		return (NULL);
	pczc_py.decref(*cell);
	*cell = shared(made);
	return (made);
}

/*
 * A packet's bytes.  What is used again has room for less than twice as many, so that a program that keeps it
 * does not keep much more.
 */
object *
pczc_packet(struct cells *cells, const char *data, uint32_t size)
{
	struct cell *cell, *of_size;
	struct bytes *bytes;
	object *made;
	int power;

	if (size < 1 << LEAST || size >= 1 << (LEAST + SIZES) || !writable)
		return (pczc_py.bytes(data, size));
	power = 31 - __builtin_clz(size);
	of_size = cells->packets[power - LEAST];
	cell = find(of_size, size);
	if (cell == NULL) {
		made = pczc_py.bytes(data, size);
		if (made != NULL)
			remember(of_size, made, size);
		return (made);
	}
	bytes = cell->made;
	memcpy(bytes->data, data, size);
	bytes->data[size] = 0;
	bytes->size = size;
	bytes->hash = -1;
	return (shared(bytes));
}

/* `size` bytes as an object of `type`: a subclass of bytes that adds nothing and has a hash of its own. */
object *
pczc_record(struct cells *cells, object *type, const void *data, uint32_t size)
{
	struct cell *cell = counted ? find(cells->records, size) : NULL;
	object *made = cell != NULL ? shared(cell->made) : pczc_py.alloc(type, size);

	if (made == NULL)
		return (NULL);
	memcpy(pczc_py.bytes_memory(made), data, size);
	if (counted && cell == NULL)
		remember(cells->records, made, size);
	return (made);
}

/* Put an object into a tuple that nobody else has. */
static void
put(object *tuple, int i, object *item)
{
	object **place = (object **)((char *)tuple + items_at) + i, *had;

	if (items_at == 0) {
		pczc_py.tuple_set(tuple, i, item);
		return;
	}
	had = *place;
	*place = item;
	if (had != NULL)
		drop(had);
}

/* A tuple of `count` objects, always as many for the same `cells`. */
object *
pczc_tuple(struct cells *cells, object *const *items, int count)
{
	object *tuple = cells->tuple;
	int i;

	if (tuple == NULL || count_of(tuple) != 1) {
		cells->tuple = NULL;
		pczc_py.decref(tuple);
		tuple = pczc_py.tuple_new(count);
	}
	for (i = 0; i < count; i++)
		if (tuple != NULL)
			put(tuple, i, items[i]);
		else
			pczc_py.decref(items[i]);
	if (counted && tuple != NULL)
		cells->tuple = shared(tuple);
	return (tuple);
}

/* Let go of all that is remembered. */
void
pczc_forget(struct cells *cells)
{
	struct cells had = *cells;
	struct cell *cell;

	memset(cells, 0, sizeof(*cells));
	pczc_py.decref(had.tuple);
	pczc_py.decref(had.times[0]);
	pczc_py.decref(had.times[1]);
	for (cell = had.packets[0]; cell < had.records + PAIRED; cell++)
		if (cell->made != NULL)
			pczc_py.decref(cell->made);
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

static size_t
items_of_tuple(object *o)
{
	object *tuple = pczc_py.tuple_new(1), *there;
	size_t at, found = 0;

	if (tuple == NULL)
		return (0);
	pczc_py.incref(o);
	pczc_py.tuple_set(tuple, 0, o);
	for (at = pczc_head + 8; at <= pczc_head + 16; at += 8) {	/* behind the size, since 3.14 a hash */
		memcpy(&there, (char *)tuple + at, sizeof(there));
		if (there == o && found == 0)
			found = at;
	}
	pczc_py.decref(tuple);
	return (found);
}

/* See how objects of this interpreter lie in memory. */
void
pczc_learn(void)
{
	static const char sample[] = "pypcapzc";
	object *o;

	counted = writable = numbered = 0;
	items_at = 0;
	if (pczc_parallel || pczc_head != 2 * sizeof(void *) || sizeof(void *) != 8 ||
	    __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
		return;
	o = pczc_py.bytes(sample, sizeof(sample) - 1);
	if (o == NULL)
		return;
	counted = has_count(o);
	if (counted) {
		writable = has_bytes(o, sizeof(sample) - 1);
		numbered = has_digits();
		items_at = items_of_tuple(o);
	}
	pczc_py.decref(o);
}
