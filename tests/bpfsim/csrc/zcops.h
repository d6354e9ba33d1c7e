/*
 * What zcops.c knows about what it has sent, and how it checks what comes.
 */
#ifndef ZCOPS_H
#define ZCOPS_H

#include <pthread.h>

#include <pcap/zc.h>

#include "simtest.h"

#define BLOCKS		8
#define QUEUE		8
#define CHILDREN	16
#define ANY_LENGTH	1000000

/*
 * Frames that were sent together, and the filter that the kernel had when they
 * arrived.
 */
struct segment {
	uint32_t first, last;
	int min, max;
	uint32_t seed;
	size_t filter;
};

struct filter {
	int shortest, longest;
};

struct lent {
	struct pcap_zc_block block;
	int used;
};

struct returning {
	struct pcap_zc_block block;
	int delay_us;
};

static struct {
	pcap_t *p;
	int timeout, nonblock, immediate, buffer_size;
	int slack;

	struct segment *segments;
	size_t count, room, at;		/* at: the segment of `next` */
	struct filter *filters;		/* that there were; the last one counts */
	size_t filter_count;
	uint32_t next;			/* the number that is to come */
	uint32_t sent;			/* numbers handed out */
	uint64_t delivered;
	uint64_t lost_pass, lost_refuse;	/* passed over; did they pass the filters? */
	uint64_t last_ts;

	int quiet;			/* all that was sent has arrived */
	int partly;			/* a dispatch has left something */
	int breaks;			/* that may still come */
	int gone;

	struct lent blocks[BLOCKS];
	pid_t children[CHILDREN];
	int nchildren;
} s;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct returning queue[QUEUE];
	int length, busy, stop;
} q = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/*
 * Which of the frames in a segment were to come?
 */
static int
frame_length(const struct segment *segment, uint32_t number)
{
	return (bpfsim_flood_length(segment->seed, number, segment->min,
	    segment->max));
}

static int
passes(size_t filter, int length)
{
	return (length >= s.filters[filter].shortest &&
	    length <= s.filters[filter].longest);
}

/*
 * A frame that has arrived is filtered again when the library comes upon it,
 * with the filter of that moment, whichever that was.
 */
static int
passes_since(const struct segment *segment, int length)
{
	size_t i;

	for (i = segment->filter + 1; i < s.filter_count; i++) {
		if (!passes(i, length))
			return (0);
	}
	return (1);
}

/*
 * The frames from s.next up to, but not including, number weren't delivered.
 */
static void
pass_over(uint32_t number, int for_good, uint64_t *pass, uint64_t *refuse)
{
	size_t at = s.at;
	uint32_t n;
	int length;

	for (n = s.next; n < number; n++) {
		while (at < s.count && s.segments[at].last < n)
			at++;
		check(at < s.count, "frame %u was never sent", n);
		length = frame_length(&s.segments[at], n);
		if (!passes(s.segments[at].filter, length))
			continue;
		if (passes_since(&s.segments[at], length))
			(*pass)++;
		else
			(*refuse)++;
	}
	if (for_good) {
		s.at = at;
		s.next = number;
	}
}

static void
account(const u_char *frame, uint32_t caplen, uint32_t wirelen, uint64_t ts)
{
	uint32_t number = number_of(frame, caplen);
	int length;

	check(number >= s.next, "frame %u came after %u", number, s.next - 1);
	check(number <= s.sent, "frame %u wasn't sent", number);
	pass_over(number, 1, &s.lost_pass, &s.lost_refuse);
	while (s.segments[s.at].last < number)
		s.at++;
	length = frame_length(&s.segments[s.at], number);
	/* One that is larger than a buffer is cut to it, with its header. */
	check((int)wirelen == length && (caplen == wirelen ||
	    (caplen < wirelen && (int)caplen >= s.buffer_size - 64)),
	    "frame %u has %u of %u bytes, not %d", number, caplen, wirelen,
	    length);
	check(passes(s.segments[s.at].filter, length) &&
	    passes(s.filter_count - 1, length),
	    "frame %u of %d bytes was to be filtered", number, length);
	check(ts >= s.last_ts, "frame %u is older than the one before", number);
	s.last_ts = ts;
	s.next = number + 1;
	s.delivered++;
}

static void
take_one(u_char *user, const struct pcap_pkthdr *h, const u_char *frame)
{
	(void)user;
	account(frame, h->caplen, h->len, (uint64_t)h->ts.tv_sec * 1000000000 +
	    (uint64_t)h->ts.tv_usec);
}

/*
 * A lent block: all of it is there, and stays as it is.
 */
static void
look_at(const struct pcap_zc_block *block, int first_time)
{
	const struct pcap_zc_record *record = block->index;
	uint32_t i, number, before = 0;

	check(block->count > 0, "an empty block");
	for (i = 0; i < block->count; i++, record++) {
		check(record->offset <= block->length &&
		    record->caplen <= block->length - record->offset &&
		    record->flags == 0, "record %u is not in the block", i);
		if (first_time) {
			account(block->base + record->offset, record->caplen,
			    record->wirelen, record->ts_ns);
			continue;
		}
		number = number_of(block->base + record->offset,
		    record->caplen);
		check(number > before, "frame %u is in the place of another",
		    number);
		before = number;
	}
}

static int
lent_count(void)
{
	int i, count = 0;

	for (i = 0; i < BLOCKS; i++)
		count += s.blocks[i].used;
	pthread_mutex_lock(&q.lock);
	count += q.length + q.busy;
	pthread_mutex_unlock(&q.lock);
	return (count);
}

/*
 * What wasn't delivered so far must have been dropped: the library has just
 * said that there's nothing more.
 */
static void
nothing_left(void)
{
	uint64_t pass = s.lost_pass, refuse = s.lost_refuse, waiting = 0;
	struct pcap_stat stats;

	if (!s.quiet)
		return;
	pass_over(s.sent + 1, 0, &pass, &waiting);
	if (waiting != 0)
		return;		/* it may have had its hands full with these */
	check(pcap_stats(s.p, &stats) == 0, "%s", pcap_geterr(s.p));
	check(pass <= stats.ps_drop && stats.ps_drop <= pass + refuse,
	    "%llu came, %llu not (and %llu that were filtered later), %u dropped",
	    (unsigned long long)s.delivered, (unsigned long long)pass,
	    (unsigned long long)refuse, stats.ps_drop);
}

/*
 * Has this call taken longer than it may?
 */
static int
in_time(int64_t began, int timeout)
{
	int elapsed = (int)(now_ms() - began);

	check(timeout < 0 || elapsed <= timeout + s.slack,
	    "returned after %d ms, not %d", elapsed, timeout);
	return (elapsed);
}

/*
 * Not a number of packets or blocks; and does it have a reason?
 */
static int
is_error(int status, int was_lent)
{
	if (status == PCAP_ERROR_BREAK) {
		check(s.breaks > 0, "nobody has asked for a break");
		s.breaks--;
		return (1);
	}
	if (status == PCAP_ERROR_ZC_HELD) {
		check(was_lent > 0, "nothing is lent");
		return (1);
	}
	if (status < 0) {
		check(s.gone && strstr(pcap_geterr(s.p), "disappeared") != NULL,
		    "%d: %s", status, pcap_geterr(s.p));
		nothing_left();
		return (1);
	}
	return (0);
}

#endif /* ZCOPS_H */
