/* A packet on its way through the layers of decode.c. */
#ifndef pypcapzc_walk_h
#define pypcapzc_walk_h

#include "fields.h"

/*
 * Each layer is decoded by a function that gives what follows, or NOTHING.  All are to become one function, in
 * which the members of a struct walk are registers: that takes half the time.
 */
#define LAYER	static inline __attribute__((always_inline))
#define NOTHING	(-1)

/* A packet on its way through the layers.  Offsets count from its first byte. */
struct walk {
	const u_char	*bytes;
	uint32_t	 end;		/* caplen */
	uint32_t	 at;		/* where the next header begins */
	uint32_t	 limit;		/* where bytes end that may belong to it; at most end */
	uint32_t	 layers;
	uint32_t	 payload, payload_end;
	struct fields	*out;
};

LAYER uint16_t
get16(const u_char *p)
{
	return ((uint16_t)(p[0] << 8 | p[1]));
}

LAYER uint32_t
get32(const u_char *p)
{
	return ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
}

LAYER uint64_t
get48(const u_char *p)
{
	return ((uint64_t)get16(p) << 32 | get32(p + 2));
}

LAYER uint64_t
get64(const u_char *p)
{
	return ((uint64_t)get32(p) << 32 | get32(p + 4));
}

/* A header has no room: it was cut off at caplen, or a length field contradicts it. */
LAYER void
mark_short(struct walk *w)
{
	w->layers |= w->limit == w->end ? F_TRUNCATED : F_MALFORMED;
}

LAYER int
has_room(struct walk *w, uint32_t size)
{
	if (size <= w->limit - w->at)
		return (1);
	mark_short(w);
	return (0);
}

/* What is at `at` follows the headers so far. */
LAYER void
enter_payload(struct walk *w, uint32_t bits)
{
	w->layers |= F_PAYLOAD | bits;
	w->payload = w->at;
	w->payload_end = w->limit;
}

#endif
