/*
 * The companion library's iterators without an interpreter, under sanitizers.  Objects that count themselves
 * stand in for Python's, laid out like them or not; any allocation can be made to fail; records claim what they
 * like; and a program keeps some of what it gets, which must not change.
 *
 *	exercise_iterate SEED ROUNDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "python.h"
#include "records.h"

#define HEAD	16
#define KEPT	64

/* Python 3.14 has the hash of a tuple where the items were. */
enum layout { UNHASHED_TUPLES, CPYTHON, REST_ELSEWHERE, COUNT_ELSEWHERE, UNLOCKED, LAYOUTS };

struct thing {
	uint64_t	count;
	struct thing	*type;
	int64_t		size;
	int64_t		hash;
	char		data[];		/* bytes; of a tuple struct thing * */
};

struct slot { int which; void *what; };
struct spec { const char *name; int size, item_size; unsigned flags; struct slot *slots; };

struct thing *pczc_start(const struct api *, uint64_t, int);
struct thing *pczc_each(object *, int, object *, const u_char *, uint64_t, const struct record *, uint32_t,
    const uint8_t *, object *, object *);
void pczc_forked(void);

static enum layout layout;
static long living, failures_in;	/* fail when this reaches 0 */
static struct spec spec;
static void (*dealloc)(object *);
static object *(*next)(object *);
static struct thing *iterators, tuples, *record_type, *whole, *keeper;
static int viewing;
static struct thing *collectable;	/* an iterator that is let go of when the garbage collector starts */

static void
die(const char *what)
{
	fprintf(stderr, "exercise_iterate: layout %d: %s\n", layout, what);
	exit(1);
}

/* Of a tuple. */
static char *
items_of(object *o)
{
	return ((char *)o + (layout == UNHASHED_TUPLES ? 24 : layout == REST_ELSEWHERE ? 40 : 32));
}

static uint64_t
bias(void)
{
	return (layout == COUNT_ELSEWHERE ? 100 : 0);
}

static struct thing *
make(struct thing *type, size_t bytes)
{
	struct thing *o;

	if (--failures_in == 0)
		return (NULL);
	o = calloc(1, sizeof(*o) + bytes);
	o->count = 1 + bias();
	o->type = type;
	o->hash = -1;
	living++;
	return (o);
}

static void
free_object(void *o)
{
	if (o == whole)
		whole = NULL;
	if (o == keeper)
		keeper = NULL;
	free(o);
	living--;
}

static void
incref(object *o)
{
	if (o != NULL)
		((struct thing *)o)->count++;
}

static void
decref(object *o)
{
	struct thing *t = o, *items[3];
	int64_t i;

	if (t == NULL || --t->count > bias())
		return;
	if (iterators != NULL && t->type == iterators) {
		dealloc(t);
		return;
	}
	if (t->type == &tuples) {
		memcpy(items, items_of(t), (size_t)t->size * sizeof(*items));
		for (i = 0; i < t->size; i++)
			decref(items[i]);
	}
	free_object(t);
}

static object *
type_from_spec(void *given)
{
	struct slot *slot;

	spec = *(struct spec *)given;
	for (slot = spec.slots; slot->which != 0; slot++) {
		if (slot->which == 52)
			dealloc = (void (*)(object *))slot->what;
		if (slot->which == 63)
			next = (object *(*)(object *))slot->what;
	}
	return (make(NULL, 0));
}

static object *
alloc(object *type, py_ssize size)
{
	struct thing *o = make(type, type == iterators ? (size_t)spec.size : (size_t)size + 2);

	if (o == NULL)
		return (NULL);
	if (type == iterators) {
		incref(type);
		memset((char *)o + HEAD, 0, (size_t)spec.size - HEAD);
	} else
		o->size = size;
	return (o);
}

static object *
type_of(object *o)
{
	incref(((struct thing *)o)->type);
	return (((struct thing *)o)->type);
}

static char *
memory(object *o)
{
	return (((struct thing *)o)->data + (layout == REST_ELSEWHERE));
}

static object *
bytes(const char *from, py_ssize size)
{
	struct thing *o = make(NULL, (size_t)size + 2);

	if (o != NULL) {
		o->size = size;
		memcpy(memory(o), from, (size_t)size);	/* reads all of it */
	}
	return (o);
}

static py_ssize
hash(object *o)
{
	return (((struct thing *)o)->hash = ((struct thing *)o)->size + 42);
}

/* Digits of 30 bits from byte 24 on, where CPython has them. */
static char *
digits(object *o)
{
	return ((char *)o + 24 + (layout == REST_ELSEWHERE ? 16 : 0));
}

static object *
number(unsigned long long value)
{
	struct thing *o = make(NULL, 32);
	uint32_t digit[] = { value & 0x3fffffff, value >> 30 & 0x3fffffff, value >> 60 };

	if (o != NULL) {
		o->size = digit[2] ? 3 : digit[1] ? 2 : 1;
		memcpy(digits(o), digit, sizeof(digit));
	}
	return (o);
}

static unsigned long long
value_of(object *o)
{
	uint32_t digit[3] = { 0 };

	size_t count = (size_t)((struct thing *)o)->size;

	memcpy(digit, digits(o), count * sizeof(*digit));
	if (count > 1 && digit[count - 1] == 0)
		die("an int has more digits than it needs");
	return (digit[0] | (unsigned long long)digit[1] << 30 | (unsigned long long)digit[2] << 60);
}

/* Behind the type, where CPython has it. */
static char *
double_of(object *o)
{
	return ((char *)o + 16 + (layout == REST_ELSEWHERE ? 16 : 0));
}

static object *
real(double value)
{
	struct thing *o = make(NULL, 16);

	if (o != NULL)
		memcpy(double_of(o), &value, sizeof(value));
	return (o);
}

/* What code that the garbage collector runs may do: go on with the iterator that is just at work, and let go. */
static void
collect(void)
{
	struct thing *it = collectable;
	object *given;
	int steps = rand() % 4 ? rand() % 4 : -1;

	if (it == NULL || rand() % 16)
		return;
	collectable = NULL;
	while (steps-- != 0 && (given = next(it)) != NULL)
		decref(given);
	decref(it);
	if (keeper == NULL || (viewing && whole == NULL))
		die("the block is taken from under its iterator");
}

static object *
slice(object *o, py_ssize from, py_ssize to)
{
	struct thing *made;

	collect();
	made = make(NULL, 2);
	if (o != whole || from < 0 || to < from)
		die("a slice of something else");
	if (made != NULL)
		made->size = to - from;
	return (made);
}

static object *
tuple_new(py_ssize size)
{
	struct thing *o;

	collect();
	o = make(&tuples, (size_t)size * sizeof(void *) + 8);
	if (o != NULL) {
		o->size = size;
		if (layout == UNHASHED_TUPLES)
			memset(items_of(o), 0, (size_t)size * sizeof(void *));
	}
	return (o);
}

static int
tuple_set(object *o, py_ssize i, object *item)
{
	struct thing *t = o, *had;

	if (t->type != &tuples || t->count != 1 + bias() || item == NULL)
		die("a tuple that others have is changed");
	memcpy(&had, items_of(t) + i * (py_ssize)sizeof(had), sizeof(had));
	memcpy(items_of(t) + i * (py_ssize)sizeof(had), &item, sizeof(item));
	decref(had);
	return (0);
}

static const struct api api = {
	type_from_spec, alloc, type_of, hash, free_object, incref, decref, bytes, memory, number, value_of, real, slice,
	tuple_new, tuple_set
};

static uint32_t
any(uint32_t limit)
{
	static const uint32_t odd[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };

	return (rand() % 8 == 0 ? odd[rand() % 5] : (uint32_t)rand() % limit);
}

struct kept {
	struct thing		*packet, *stamp, *tuple;
	const struct record	*r;
	int			kind;	/* enum stamp */
};

/* In front of the stamp: 1 where the packet's length is there. */
static size_t
items_before(int kind)
{
	return (kind == 5 || kind == 6);
}

static double
seconds(uint64_t ts_ns, int fine)
{
	uint64_t whole_seconds = ts_ns / 1000000000, rest = ts_ns % 1000000000;

	return ((double)whole_seconds + (fine ? (double)rest * 1e-9 : (double)(rest / 1000) / 1e6));
}

static int
is_stamp(object *o, int kind, const struct record *r)
{
	double value;

	switch (kind) {
	case 0:
		return (o == NULL);
	case 1:
		return (value_of(o) == r->ts_ns);
	case 6:
		return (value_of(o) == r->ts_ns / 1000000000);
	case 4:
		return (memcmp(memory(o), r, sizeof(*r)) == 0);
	}
	memcpy(&value, double_of(o), sizeof(value));
	return (value == seconds(r->ts_ns, kind == 3));
}

static void
check(const struct kept *k, const u_char *base, uint64_t length)
{
	uint32_t caplen = record_caplen(k->r, length);
	struct thing *items[3];

	if (k->packet->size != (int64_t)caplen)
		die("a packet has another length");
	if (!viewing && memcmp(memory(k->packet), base + k->r->offset, caplen) != 0)
		die("a packet has other bytes");
	if (!is_stamp(k->stamp, k->kind, k->r))
		die("a time or a record has changed");
	if (k->tuple != NULL) {
		memcpy(items, items_of(k->tuple), (items_before(k->kind) + 2) * sizeof(*items));
		if (items[items_before(k->kind)] != k->stamp || items[items_before(k->kind) + 1] != k->packet)
			die("a tuple has changed");
		if (items_before(k->kind) != 0 && value_of(items[0]) != caplen)
			die("a length has changed");
	}
}

static void
drop(struct kept *k)
{
	decref(k->packet);
	decref(k->stamp);
	decref(k->tuple);
	memset(k, 0, sizeof(*k));
}

/* What next() gave, as a program gets it; some it keeps, some of its hashes it asks for. */
static void
take(struct kept *k, object *given, int stamp, const struct record *r, const uint8_t *kind)
{
	struct thing *items[3] = { NULL, given, NULL };
	size_t first = items_before(stamp);

	if (stamp != 0)
		memcpy(items, items_of(given), (first != 0 || kind != NULL ? 3 : 2) * sizeof(*items));
	if (kind != NULL && stamp != 0 && value_of(items[2]) != *kind)
		die("another number stands behind the packet");
	if (first != 0 && value_of(items[0]) != (uint64_t)items[2]->size)
		die("another number stands in front of the packet");
	if (!is_stamp(items[first], stamp, r))
		die("another time or record stands before the packet");
	if (stamp != 0 && layout != UNHASHED_TUPLES && ((struct thing *)given)->hash != -1)
		die("a tuple has the hash of another");
	if (stamp != 0 && layout != UNHASHED_TUPLES && rand() % 2)
		hash(given);
	k->r = r;
	k->packet = items[first + 1];
	k->stamp = items[first];
	k->kind = stamp;
	incref(k->packet);
	incref(k->stamp);
	if (k->packet->hash != -1)
		die("a packet has the hash of another");
	if (rand() % 2)
		hash(k->packet);
	if (rand() % 8 || stamp == 0)
		decref(given);
	else
		k->tuple = given;
}

static void
iterate(const u_char *base, uint64_t length, const struct record *index, uint32_t count)
{
	struct kept kept[KEPT];
	int stamp = rand() % 7;
	uint8_t of_each[200], *kinds = items_before(stamp) != 0 || rand() % 3 ? NULL : of_each;
	int keep = 1 + rand() % 8, i;
	uint32_t at = 0, stop = rand() % 2 ? count : (uint32_t)rand() % (count + 1);
	struct thing *it, **dying = rand() % 4 ? &it : &collectable;
	object *given;

	memset(kept, 0, sizeof(kept));
	for (i = 0; i < (int)sizeof(of_each); i++)
		of_each[i] = (uint8_t)rand();
	whole = make(NULL, 0);
	keeper = make(NULL, 0);
	viewing = rand() % 4 == 0;
	it = pczc_each(iterators, stamp, record_type, base, length, index, count, kinds,
	    viewing ? whole : NULL, keeper);
	decref(whole);	/* the iterator has them */
	decref(keeper);
	*dying = it;
	while (at < stop && *dying != NULL) {
		failures_in = rand() % 4 ? -1 : 1 + rand() % 4;
		given = next(it);
		if (given == NULL && *dying == NULL)
			break;
		if (given == NULL) {
			if (failures_in > 0)
				die("it ends before the end");
			continue;	/* the same one once more */
		}
		i = rand() % keep ? 0 : rand() % KEPT;
		if (kept[i].packet != NULL) {
			check(&kept[i], base, length);
			drop(&kept[i]);
		}
		take(&kept[i], given, stamp, &index[at], kinds != NULL ? &kinds[at] : NULL);
		at++;
	}
	failures_in = -1;
	if (*dying == NULL)
		it = NULL;
	collectable = NULL;
	if (it != NULL && stop == count && (next(it) != NULL || next(it) != NULL))
		die("it does not end");
	if (it != NULL && stop == count && layout != UNLOCKED && keeper != NULL)
		die("the block is still kept at the end");
	decref(it);
	for (i = 0; i < KEPT; i++)
		if (kept[i].packet != NULL) {
			check(&kept[i], base, length);
			drop(&kept[i]);
		}
}

static void
in_child(const struct record *index)
{
	struct thing *kept = make(NULL, 0), *it;

	it = pczc_each(iterators, 1, NULL, (const u_char *)"", 0, index, 1, NULL, NULL, kept);
	decref(kept);
	pczc_forked();
	if (next(it) != NULL)
		die("an iterator of the parent goes on in a child");
	decref(it);
}

static void
round_of(void)
{
	/* To the byte, so that one too many is seen. */
	uint32_t length = (uint32_t)rand() % 5000, count = (uint32_t)rand() % 200, i;
	u_char *base = malloc(length ? length : 1);
	struct record *index = malloc((count + 1) * sizeof(*index));

	for (i = 0; i < length; i++)
		base[i] = (u_char)rand();
	for (i = 0; i <= count; i++) {
		index[i].ts_ns = ((uint64_t)rand() << 33 | (uint64_t)rand()) >> (rand() % 3 ? 0 : 40);
		index[i].offset = any(length / 2 + 2);
		index[i].caplen = any(rand() % 2 ? length + 2 : 1600);
		index[i].wirelen = any(70000);
		index[i].flags = 0;
	}
	iterate(base, length, index, count);
	in_child(index);
	free(base);
	free(index);
}

int
main(int argc, char **argv)
{
	int round, rounds;

	if (argc != 3)
		die("usage: exercise_iterate SEED ROUNDS");
	srand((unsigned)atoi(argv[1]));
	rounds = atoi(argv[2]);
	for (layout = 0; layout < LAYOUTS; layout++) {
		failures_in = -1;
		iterators = NULL;
		iterators = pczc_start(&api, HEAD, layout == UNLOCKED);
		record_type = make(NULL, 0);
		for (round = 0; round < rounds; round++)
			round_of();
		if (record_type->count != 1 + bias() || iterators->count != 1 + bias())
			die("references are left");
		decref(record_type);
		decref(iterators);
		if (living != 0)
			die("objects are left");
	}
	printf("%d rounds\n", rounds);
	return (0);
}
