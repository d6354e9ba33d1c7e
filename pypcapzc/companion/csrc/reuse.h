/*
 * Using objects again that a program has let go of.
 *
 * A program that goes over packets one by one, as most do, has dropped the one before the last when the next one
 * is due.  So the tuples of the last two turns are remembered, with a reference, and one that nobody else refers
 * to is handed out again; what is in it is filled anew where only the tuple refers to it, in place or, if a
 * packet's bytes have no room for the next packet, with bytes that were put aside.  Nobody can tell: what a
 * program keeps is referred to, and never touched.  That is how zip() reuses its tuples, and the interpreter
 * grows bytes in place.
 *
 * It takes knowing where the interpreter has an object's count of references, the hash of bytes, the digits of an
 * int and what is in a tuple.  pczc_learn() looks, and what is elsewhere is made by the interpreter alone; so is
 * everything where threads run side by side.
 */
#ifndef pypcapzc_reuse_h
#define pypcapzc_reuse_h

#include <string.h>

#include "python.h"

#pragma GCC visibility push(hidden)

#define TURNS		2	/* a loop has one packet in its hands while the next one is made */
#define LEAST		6	/* log2 of bytes: less is as quickly made */
#define SIZES		11	/* powers of 2 from there on; larger packets are always new */

/* A tuple that was handed out, and of what is in it what may be written to. */
struct turn {
	object		*tuple;
	uint32_t	room;		/* its bytes may have so many, 0: none */
	int		three_digits;	/* its int has as many */
};

/* Bytes that nobody has. */
struct spare {
	object		*bytes;
	uint32_t	room;
};

/* All 0 to begin with. */
struct cells {
	struct turn	turns[TURNS];	/* that of a packet: its number, modulo TURNS */
	struct spare	spares[SIZES][TURNS];
};

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

/* PyFloatObject. */
struct real {
	uint64_t	count;
	void		*type;
	double		value;
};

#define DIGIT		30		/* bits; PyLong_SHIFT */
#define THREE_DIGITS	(1ull << 2 * DIGIT)	/* from here on, in 2006; PyLong has them without a sign */

/* How objects lie in memory; all 0 where that is not known. */
struct layout {
	int	bytes;		/* as in struct bytes */
	int	numbers;	/* as in struct number */
	int	reals;		/* as in struct real */
	size_t	items;		/* the place of the first item in a tuple */
	size_t	hash;		/* that of its hash, since 3.14; 0: it has none */
};

extern struct layout pczc_layout;

void	pczc_learn(void);
void	pczc_forget(struct cells *);
/* They give NULL, or 0, with the exception set. */
object	*pczc_tuple(struct turn *, object *const *, int);	/* takes the references */
int	pczc_time_anew(struct turn *, object **, uint64_t);
int	pczc_packet_anew(struct cells *, struct turn *, object **, const char *, uint32_t);

/*
 * In front, in 64 bits of which those of higher value are 0 or, since 3.12, something else: objects without a
 * count, which live for ever, are never taken for unshared ones by their lower half.
 */
static inline uint32_t
count_of(const object *o)
{
	uint32_t count;

	memcpy(&count, o, sizeof(count));
	return (count);
}

/* Another reference.  64 bits are written, as the interpreter does: less would hold up its reading them. */
static inline object *
shared(object *o)
{
	uint64_t count;

	memcpy(&count, o, sizeof(count));
	count++;
	memcpy(o, &count, sizeof(count));
	return (o);
}

/* Put an object, if it could be made, where another one was, or none. */
static inline int
replace(object **place, object *made)
{
	object *had = *place;

	if (made == NULL)
		return (0);
	*place = made;
	if (had != NULL)
		pczc_py.decref(had);
	return (1);
}

static inline void
set_digits(struct number *n, uint64_t value)
{
	n->digits[0] = (uint32_t)(value & ((1u << DIGIT) - 1));
	n->digits[1] = (uint32_t)(value >> DIGIT & ((1u << DIGIT) - 1));
	n->digits[2] = (uint32_t)(value >> 2 * DIGIT);
}

static inline void
set_bytes(struct bytes *bytes, const char *data, uint32_t size)
{
	memcpy(bytes->data, data, size);
	bytes->data[size] = 0;
	bytes->size = size;
	bytes->hash = -1;
}

static inline int
is_free(const struct turn *turn)
{
	return (turn->tuple != NULL && count_of(turn->tuple) == 1);
}

/*
 * The items of the tuple whose turn it is, if it can be handed out again: then with a reference for that, so that
 * code which runs while they are replaced finds it taken.
 */
static inline object **
tuple_again(struct turn *turn)
{
	object *tuple = turn->tuple;
	static const int64_t none = -1;

	if (!is_free(turn))
		return (NULL);
	shared(tuple);
	if (pczc_layout.hash != 0)
		memcpy((char *)tuple + pczc_layout.hash, &none, sizeof(none));
	return ((object **)((char *)tuple + pczc_layout.items));
}

/* Put a time into a tuple to be handed out again, as an int or as seconds. */
static inline int
time_again(struct turn *turn, object **place, uint64_t value)
{
	if (!turn->three_digits || value < THREE_DIGITS || count_of(*place) != 1)
		return (pczc_time_anew(turn, place, value));
	set_digits(*place, value);
	return (1);
}

static inline int
seconds_again(object **place, double value)
{
	struct real *real = *place;

	if (!pczc_layout.reals || count_of(real) != 1)
		return (replace(place, pczc_py.from_double(value)));
	real->value = value;
	return (1);
}

/*
 * The same with a packet's bytes.  What is used again has room for less than twice as many, so that a program
 * that keeps it does not keep much more.
 */
static inline int
packet_again(struct cells *cells, struct turn *turn, object **place, const char *data, uint32_t size)
{
	if (size > turn->room || size <= turn->room / 2 || count_of(*place) != 1)
		return (pczc_packet_anew(cells, turn, place, data, size));
	set_bytes(*place, data, size);
	return (1);
}

#pragma GCC visibility pop

#endif
