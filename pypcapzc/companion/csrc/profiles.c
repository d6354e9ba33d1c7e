/*
 * The classes of pcapy-ng's two profiles, as pypcapzc/compat/pcapy_classes.py describes them, decided for whole
 * blocks in one call; those that are admitted told of or written into memory one after the other.
 *
 * Nothing here needs the interpreter: callers release its lock.  A struct profile is for one thread at a time.
 */
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "records.h"
#include "tables.h"

#define PROTO_TCP	6
#define PROTO_UDP	17
#define TH_SYN		0x02

/* Security profile; the generic one has OTHER, FLOW_HEAD and SET_MATCH, which are 0, 1 and 2 too. */
enum { DNS, PAYLOAD, NOISE, ADDRESS, HEAD, SYN };
enum { OTHER, FLOW_HEAD, SET_MATCH };

/* What Rules in pcapy_classes.py fills in; ports are bitmaps of 65536 bits. */
struct profile_rules {
	uint32_t	security;	/* 0: generic */
	uint32_t	l2_offset;
	uint32_t	flow_cutoff;	/* 0: no flow heads */
	uint32_t	dns_port;
	uint8_t		payload_ports[65536 / 8];
	uint8_t		head_ports[65536 / 8];
};

#define FLOWS_BITS	17	/* of the number of a row: a million flows */
#define FACTOR		0x9e3779b97f4a7c15u	/* 2^64 divided by the golden ratio */

struct profile {
	struct profile_rules	rules;
	struct address_table	set;
	uint64_t		*hints;		/* a bit for each hash of a member: most others are told apart by it */
	u_int			hint_shift;
	struct flow_table	flows;
};

/* What is done once a packet is put together for each profile, with no call in it. */
#define INLINE	static inline __attribute__((__always_inline__))

struct found {
	const u_char	*ip;
	const u_char	*transport;	/* with ports: behind that */
	u_int		 left;		/* bytes from there, or before that is known, from ip */
	u_int		 sport, dport;
};

INLINE u_int
get16(const u_char *p)
{
	return ((u_int)p[0] << 8 | p[1]);
}

INLINE int
has_port(const uint8_t *ports, u_int port)
{
	return (ports[port >> 3] >> (port & 7) & 1);
}

INLINE uint32_t
hint_of(const struct profile *p, uint32_t address)
{
	return (address * 0x9e3779b1u >> p->hint_shift);	/* 2^32 divided by the golden ratio */
}

/* Eight bits a member, and at least a kilobyte's. */
static int
add_hints(struct profile *p, const uint32_t *members, uint64_t count)
{
	u_int bits = 13;
	uint64_t n;

	while (bits < 31 && 1ull << bits < 8 * count)
		bits++;
	p->hint_shift = 32 - bits;
	p->hints = calloc((size_t)1 << bits >> 6, sizeof(*p->hints));
	if (p->hints == NULL)
		return (-1);
	for (n = 0; n < count; n++)
		p->hints[hint_of(p, members[n]) >> 6] |= 1ull << (hint_of(p, members[n]) & 63);
	return (0);
}

static int
add_members(struct profile *p, const u_char *addresses, uint64_t count)
{
	uint64_t room = 16, members = 0, n;
	uint32_t *places, *kept;
	int status;

	while (room < 2 * count + 1)
		room *= 2;
	p->set.mask = room - 1;
	p->set.factor = FACTOR;
	places = calloc(room, sizeof(*places));
	kept = malloc(count * sizeof(*kept));
	if (places == NULL || kept == NULL) {
		free(places);
		free(kept);
		return (-1);
	}
	memcpy(kept, addresses, count * sizeof(*kept));
	for (n = 0; n < count; n++)
		if (kept[n] != 0)	/* which is no member of pcapy-ng's sets */
			kept[members++] = kept[n];
	enter_four(&p->set, places, kept, members);
	p->set.places = places;
	status = add_hints(p, kept, members);
	free(kept);
	return (status);
}

void
pczc_profile_free(struct profile *p)
{
	if (p != NULL) {
		free((void *)p->set.places);
		free(p->hints);
		free(p->flows.rows);
		free(p);
	}
}

/* `addresses` are `count` IPv4 addresses as they are in packets.  NULL: no memory. */
struct profile *
pczc_profile_new(const struct profile_rules *rules, const u_char *addresses, uint64_t count)
{
	struct profile *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return (NULL);
	p->rules = *rules;
	if (count != 0 && (count > 1u << 30 || add_members(p, addresses, count) != 0))
		goto fail;
	if (rules->flow_cutoff != 0) {
		p->flows.limit = rules->flow_cutoff;
		p->flows.shift = 63 - FLOWS_BITS;
		p->flows.rows = calloc(1 << FLOWS_BITS, sizeof(*p->flows.rows));
		if (p->flows.rows == NULL)
			goto fail;
	}
	return (p);

fail:
	pczc_profile_free(p);
	return (NULL);
}

/* A direction of a flow as one number, not 0. */
INLINE uint64_t
flow_of(const struct found *f)
{
	uint64_t addresses, h;

	memcpy(&addresses, f->ip + 12, sizeof(addresses));
	h = mixed(mixed(addresses) + ((uint64_t)f->sport << 32 | f->dport << 16 | f->ip[9]));
	return (h + (h == 0));
}

/* The IPv4 header behind up to two VLAN tags that end at l2_offset: 0 if there is none. */
static u_int
ip_behind_tags(const u_char *packet, u_int caplen, u_int at)
{
	u_int tags, type;

	for (tags = 0;; tags++, at += 4) {
		if (caplen < at + 20)
			return (0);
		if (packet[at] >> 4 == 4)
			return (at);
		if (tags == 2 || at < 2)
			return (0);
		type = get16(packet + at - 2);
		if (type != 0x8100 && type != 0x88a8)
			return (0);
	}
}

/* The IPv4 header at l2_offset, where it mostly is, or behind tags. */
INLINE int
locate_ip(const struct profile *p, const u_char *packet, u_int caplen, struct found *f)
{
	u_int at = p->rules.l2_offset;

	if (caplen < at + 20)
		return (0);
	if (packet[at] >> 4 != 4 && (at = ip_behind_tags(packet, caplen, at)) == 0)
		return (0);
	f->ip = packet + at;
	f->left = caplen - at;
	return (1);
}

/* What follows it, if that has ports. */
INLINE int
locate_ports(struct found *f)
{
	u_int header = (f->ip[0] & 15) * 4;

	f->sport = f->dport = 0;
	if ((f->ip[9] != PROTO_TCP && f->ip[9] != PROTO_UDP) || header < 20 || f->left < header + 4)
		return (0);
	f->transport = f->ip + header;
	f->left -= header;
	f->sport = get16(f->transport);
	f->dport = get16(f->transport + 2);
	return (1);
}

INLINE int
is_member(const struct profile *p, uint32_t address)
{
	uint32_t hint = hint_of(p, address);

	return ((p->hints[hint >> 6] >> (hint & 63) & 1) && has_four(&p->set, place_of_four(&p->set, address), address));
}

INLINE int
matches_set(const struct profile *p, const struct found *f)
{
	uint32_t source, destination;

	memcpy(&source, f->ip + 12, sizeof(source));
	memcpy(&destination, f->ip + 16, sizeof(destination));
	return (is_member(p, source) || is_member(p, destination));
}

INLINE int
has_either_port(const uint8_t *ports, const struct found *f)
{
	return (has_port(ports, f->sport) || has_port(ports, f->dport));
}

INLINE int
generic(struct profile *p, const u_char *packet, u_int caplen)
{
	struct found f;

	if (!locate_ip(p, packet, caplen, &f))
		return (OTHER);
	if (p->set.places != NULL && matches_set(p, &f))
		return (SET_MATCH);
	return (p->flows.rows != NULL && locate_ports(&f) && is_head(&p->flows, flow_of(&f)) ? FLOW_HEAD : OTHER);
}

INLINE int
security(struct profile *p, const u_char *packet, u_int caplen)
{
	struct found f;
	u_int header;
	int ports;

	if (!locate_ip(p, packet, caplen, &f))
		return (NOISE);
	ports = locate_ports(&f);
	if (ports && (f.sport == p->rules.dns_port || f.dport == p->rules.dns_port))
		return (DNS);
	if (ports && f.ip[9] == PROTO_TCP && f.left >= 14) {
		if (f.transport[13] == TH_SYN)
			return (SYN);
		header = (f.transport[12] >> 4) * 4;
		if (header >= 20 && f.left > header && has_either_port(p->rules.payload_ports, &f))
			return (PAYLOAD);
	}
	if (p->set.places != NULL && matches_set(p, &f))
		return (ADDRESS);
	if (p->flows.rows != NULL && ports && has_either_port(p->rules.head_ports, &f) &&
	    is_head(&p->flows, flow_of(&f)))
		return (HEAD);
	return (NOISE);
}

/*
 * What a loop lets pass, and what it has seen; Sieve in pcapy_sieve.py has the same fields.  Admitted packets are
 * copied into `buffer`, where there is one, else the sieve tells of those of the block it looked at last.
 */
#define CLASSES		6

struct sieve {
	struct profile	*profile;
	u_char		*buffer;
	uint64_t	size, used;	/* bytes of the buffer */
	uint64_t	overflow;	/* packets that found no room there */
	uint64_t	counts[CLASSES];
	uint32_t	mask;		/* bits of the classes that are admitted */
	uint32_t	class_base;
	uint32_t	room;		/* packets that there is memory for */
	uint32_t	count;		/* packets of the block it looked at last */
	uint32_t	admitted;	/* of them */
	uint32_t	failed;		/* there was no memory for its packets */
	uint64_t	left;		/* packets of the next block that it may look at */
	struct record	*records;	/* of those admitted */
	uint32_t	*positions;	/* where in the block they are */
	uint8_t		*kinds;		/* their classes, with the base */
	uint8_t		*classes;	/* of all packets of the block, without */
};

static int
make_room(struct sieve *s, uint32_t count)
{
	size_t each = sizeof(*s->records) + sizeof(*s->positions) + sizeof(*s->kinds) + sizeof(*s->classes);
	u_char *memory;

	if (count <= s->room)
		return (0);
	memory = realloc(s->records, count * each);
	if (memory == NULL)
		return (-1);
	s->records = (struct record *)memory;
	s->positions = (uint32_t *)(s->records + count);
	s->kinds = (uint8_t *)(s->positions + count);
	s->classes = s->kinds + count;
	s->room = count;
	return (0);
}

void
pczc_sieve_free(struct sieve *s)
{
	free(s->records);
	s->records = NULL;
	s->room = s->count = s->admitted = 0;
}

/* u32 caplen, u8 class, the bytes; a smaller packet may still find room behind one that did not. */
static void
write_packet(struct sieve *s, const u_char *packet, uint32_t caplen, uint8_t kind)
{
	u_char *to = s->buffer + s->used;

	if (s->size - s->used < 5 + (uint64_t)caplen) {
		s->overflow++;
		return;
	}
	to[0] = (u_char)caplen;
	to[1] = (u_char)(caplen >> 8);
	to[2] = (u_char)(caplen >> 16);
	to[3] = (u_char)(caplen >> 24);
	to[4] = kind;
	memcpy(to + 5, packet, caplen);
	s->used += 5 + (uint64_t)caplen;
}

static uint8_t
class_of(struct profile *p, const u_char *packet, u_int caplen)
{
	return ((uint8_t)(p->rules.security ? security(p, packet, caplen) : generic(p, packet, caplen)));
}

/* A pcap_handler, for a sieve with a buffer, or one that admits none: nobody has to be told of its packets. */
void
pczc_sieve_packet(u_char *user, const struct pcap_pkthdr *h, const u_char *packet)
{
	struct sieve *s = (struct sieve *)user;
	uint8_t class = class_of(s->profile, packet, h->caplen);

	s->count++;
	s->counts[class]++;
	if (s->buffer != NULL && (s->mask >> class & 1))
		write_packet(s, packet, h->caplen, (uint8_t)(s->class_base + class));
}

/* Packets whose classes are found before anything is done with them: each loop is small and has its own to do. */
#define PIECE	128

/* The classes of `count` packets; the block has `more` behind them. */
INLINE void
find_each(struct profile *restrict p, const u_char *base, uint64_t length, const struct record *index,
    uint32_t count, uint32_t more, uint8_t *restrict classes, int (*decide)(struct profile *, const u_char *, u_int))
{
	uint32_t known = count + more, i;

	for (i = 0; i < count; i++) {
		if (known - i > RECORDS_AHEAD)
			record_ask_for(&index[i + RECORDS_AHEAD], base, length);
		classes[i] = (uint8_t)decide(p, base + index[i].offset, record_caplen(&index[i], length));
	}
}

static void
find_classes(struct profile *p, const u_char *base, uint64_t length, const struct record *index, uint32_t count,
    uint32_t more, uint8_t *classes)
{
	if (p->rules.security)
		find_each(p, base, length, index, count, more, classes, security);
	else
		find_each(p, base, length, index, count, more, classes, generic);
}

static void
write_admitted(struct sieve *s, const u_char *base, uint64_t length, const struct record *index, uint32_t count,
    const uint8_t *classes)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (s->mask >> classes[i] & 1)
			write_packet(s, base + index[i].offset, record_caplen(&index[i], length),
			    (uint8_t)(s->class_base + classes[i]));
}

/* `first` is the place of the first of them in the block. */
static void
tell_of_admitted(struct sieve *s, const struct record *index, uint32_t first, uint32_t count,
    const uint8_t *classes)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		if (!(s->mask >> classes[i] & 1))
			continue;
		s->records[s->admitted] = index[i];
		s->positions[s->admitted] = first + i;
		s->kinds[s->admitted++] = (uint8_t)(s->class_base + classes[i]);
	}
}

/* Gives the classes that there were, as bits. */
static uint32_t
count_classes(struct sieve *s, const uint8_t *classes, uint32_t count)
{
	uint32_t of_each[CLASSES] = { 0 }, were = 0, i;

	for (i = 0; i < count; i++)
		of_each[classes[i]]++;
	for (i = 0; i < CLASSES; i++) {
		s->counts[i] += of_each[i];
		were |= (uint32_t)(of_each[i] != 0) << i;
	}
	return (were);
}

/* More packets of the block, for which there is room. */
static void
look(struct sieve *s, const u_char *base, uint64_t length, const struct record *index, uint32_t count)
{
	uint8_t piece[PIECE], *classes;
	uint32_t at, n;

	for (at = 0; at < count; at += n, s->count += n) {
		n = count - at < PIECE ? count - at : PIECE;
		classes = s->buffer != NULL ? piece : s->classes + s->count;
		find_classes(s->profile, base, length, index + at, n, count - at - n, classes);
		if (!(count_classes(s, classes, n) & s->mask))
			continue;
		if (s->buffer != NULL)
			write_admitted(s, base, length, index + at, n, classes);
		else
			tell_of_admitted(s, index + at, s->count, n, classes);
	}
}

/*
 * Look at the packets of a block.  Gives how many there are that the program has to be told of, or -1 where there
 * is no memory for that: then it has looked at none.
 */
int
pczc_sieve(struct sieve *s, const u_char *base, uint64_t length, const struct record *index,
    uint32_t count)
{
	s->admitted = s->count = 0;
	if (s->buffer == NULL && make_room(s, count) != 0)
		return (-1);
	look(s, base, length, index, count);
	return ((int)s->admitted);
}

/* struct pcap_zc_block of the patched libpcap (pcap_zc_next(3PCAP)). */
struct zc_block {
	const u_char		*base;
	const struct record	*index;
	uint64_t		cookie;
	uint32_t		length, count, slot, flags;
};

enum { LENT = 1, AGAIN = 2, FOUND = 3 };	/* pcap_zc_next() gives no more than 1 */

/* Its struct pcap_zc_view and pcap_zc_viewer. */
struct zc_view {
	const u_char		*base;
	const struct record	*records;
	uint32_t		length, count, left;
};
typedef void (*zc_viewer)(u_char *, const struct zc_view *);

/* What else a sieve changes when it looks at packets. */
struct tally {
	uint64_t	counts[CLASSES], used, overflow;
};

static struct tally
tally_of(const struct sieve *s)
{
	struct tally t = { .used = s->used, .overflow = s->overflow };

	memcpy(t.counts, s->counts, sizeof(t.counts));
	return (t);
}

static void
take_back(struct sieve *s, const struct tally *t)
{
	memcpy(s->counts, t->counts, sizeof(t->counts));
	s->used = t->used;
	s->overflow = t->overflow;
}

/* A zc_viewer: packets that have just been indexed, and are in the nearest cache. */
static void
look_at_view(u_char *user, const struct zc_view *v)
{
	struct sieve *s = (struct sieve *)user;
	uint32_t count = v->count < s->left ? v->count : (uint32_t)s->left;

	if (s->count == 0 && s->buffer == NULL)
		s->failed = make_room(s, v->count + v->left) != 0;
	if (s->failed)
		return;
	look(s, v->base, v->length, v->records, count);
	s->left -= count;
}

/* What libpcap offers; `next_viewed` is null where that is older. */
struct zc_calls {
	int	(*next)(void *, struct zc_block *, int);
	int	(*next_viewed)(void *, struct zc_block *, int, zc_viewer, u_char *);
	int	(*release)(void *, struct zc_block *);
};

/* The next block, of which the sieve looks at `limit` packets at most; `found` is as pczc_sieve()'s. */
static int
next_block(void *pcap, const struct zc_calls *calls, struct sieve *s, uint64_t limit, struct zc_block *block,
    int *found)
{
	struct tally before;
	int status;

	if (calls->next_viewed == NULL) {
		status = calls->next(pcap, block, 0);
		if (status == LENT)
			*found = pczc_sieve(s, block->base, block->length, block->index,
			    block->count < limit ? block->count : (uint32_t)limit);
		return (status);
	}
	before = tally_of(s);
	s->admitted = s->count = s->failed = 0;
	s->left = limit;
	status = calls->next_viewed(pcap, block, 0, look_at_view, (u_char *)s);
	if (status != LENT || s->failed)
		take_back(s, &before);
	*found = s->failed ? -1 : (int)s->admitted;
	return (status);
}

#define BLOCKS_AT_A_TIME	32	/* then signals and other threads have their turn */

/*
 * Take blocks from the patched libpcap, without waiting, and give those back at once that have nothing for the
 * program; `passed` becomes the number of their packets, which will not exceed `limit`.  Gives what pcap_zc_next()
 * gave last, FOUND or AGAIN.  LENT: more than `limit` were in `block`, and the first `looked` have passed; where
 * that is 0, there was no memory.  FOUND: `block` is lent, and the sieve has something in the first `looked`.
 */
int
pczc_sift(void *pcap, const struct zc_calls *calls, struct sieve *s, uint64_t limit, struct zc_block *block,
    uint64_t *passed, uint32_t *looked)
{
	int i, found, status;
	uint32_t n;

	*passed = 0;
	*looked = 0;
	for (i = 0; i < BLOCKS_AT_A_TIME && *passed < limit; i++) {
		status = next_block(pcap, calls, s, limit - *passed, block, &found);
		if (status != LENT)
			return (status);
		n = block->count < limit - *passed ? block->count : (uint32_t)(limit - *passed);
		switch (found) {
		case 0:
			*passed += n;
			if (n < block->count) {
				*looked = n;
				return (LENT);
			}
			(void)calls->release(pcap, block);
			break;
		case -1:
			return (LENT);
		default:
			*looked = n;
			return (FOUND);
		}
	}
	return (AGAIN);
}
