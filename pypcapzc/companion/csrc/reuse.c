/*
 * Using objects again that a program has let go of.
 *
 * A program that goes over packets one by one, as most do, has dropped the one before the last when the next one
 * is due.  So the last ones are remembered, with a reference, and one that nobody else refers to is filled with
 * the next packet: nobody can tell.  What a program keeps is never touched, as it is then referred to; that is
 * how zip() reuses its tuples, and the interpreter grows bytes in place.  With packets of 60 to 1500 bytes that
 * saves 35 of 185 nanoseconds; below 512 bytes, where Python's own allocator serves, nothing.
 *
 * It takes knowing where the interpreter has an object's count of references, its size and its hash.
 * pczc_learn() looks, and where they are elsewhere, or where threads run side by side, every object is new.
 */
#include <string.h>

#include "python.h"

static int counted;	/* the count of references is known */
static int writable;	/* and how bytes lie in memory */

/* struct PyBytesObject: count of references, type, size, hash, bytes. */
struct bytes {
	uint64_t	count;
	void		*type;
	int64_t		size;
	int64_t		hash;	/* -1: not computed */
	char		data[];
};

/* In front, in 64 bits of which those of higher value are 0 or, since 3.12, something else. */
static uint32_t
count_of(const object *o)
{
	uint32_t count;

	memcpy(&count, o, sizeof(count));
	return (count);
}

/* The program's reference, beside ours. */
static object *
shared(object *o)
{
	pczc_py.incref(o);
	return (o);
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

/* `count` objects, always as many for the same `cells`. */
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
			pczc_py.tuple_set(tuple, i, items[i]);
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

/* See how objects of this interpreter lie in memory. */
void
pczc_learn(void)
{
	static const char sample[] = "pypcapzc";
	object *o;

	counted = writable = 0;
	if (pczc_parallel || pczc_head != 2 * sizeof(void *) || sizeof(void *) != 8 ||
	    __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
		return;
	o = pczc_py.bytes(sample, sizeof(sample) - 1);
	if (o == NULL)
		return;
	counted = has_count(o);
	writable = counted && has_bytes(o, sizeof(sample) - 1);
	pczc_py.decref(o);
}
