/*
 * zcrace: threads that do everything at once that may be done at once.
 *
 *	zcrace live DEVICE SEND-DEVICE ROUNDS
 *	zcrace file FILE ROUNDS
 *
 * One thread borrows blocks; others look at what's in them and give them
 * back, ask for information, and wake the first one up.  Then the handle is
 * closed while blocks are lent and being given back.  A round is all that,
 * from opening to closing.  To be compiled with -fsanitize=thread.
 *
 * Prints how many packets were seen, how often something was held or woken,
 * and how many blocks came back after pcap_close() had begun.
 */
#define _GNU_SOURCE
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pcap/pcap.h>
#include <pcap/zc.h>

#define RELEASERS	3
#define QUEUE		16
#define LAST		6	/* blocks that are still lent when the handle is closed */
#define BLOCKS		120	/* in a round */

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "zcrace: %s: %s\n", what, why);
	exit(1);
}

static pcap_t *shared;

/*
 * Blocks on their way to those who give them back.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct pcap_zc_block queue[QUEUE];
static u_int head, tail;
static int finished;

static u_int stop, closing;	/* atomic, as are these: */
static uint64_t packets, bytes, late;
static uint64_t lent, held, woken;	/* of the main thread */

static void
put(const struct pcap_zc_block *block)
{
	pthread_mutex_lock(&lock);
	while (tail - head == QUEUE)
		pthread_cond_wait(&changed, &lock);
	queue[tail++ % QUEUE] = *block;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static int
get(struct pcap_zc_block *block)
{
	int got;

	pthread_mutex_lock(&lock);
	while (head == tail && !finished)
		pthread_cond_wait(&changed, &lock);
	got = head != tail;
	if (got)
		*block = queue[head++ % QUEUE];
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return (got);
}

static void *
releaser(void *arg)
{
	unsigned dice = (unsigned)(uintptr_t)arg;
	struct pcap_zc_block b;
	uint64_t sum;
	u_int i, j;

	while (get(&b)) {
		sum = 0;
		for (i = 0; i < b.count; i++)
			for (j = 0; j < b.index[i].caplen; j += 16)
				sum += b.base[b.index[i].offset + j];
		__atomic_add_fetch(&bytes, sum, __ATOMIC_RELAXED);
		__atomic_add_fetch(&packets, b.count, __ATOMIC_RELAXED);
		if (rand_r(&dice) % 2 == 0)
			usleep((useconds_t)rand_r(&dice) % 4000);
		if (__atomic_load_n(&closing, __ATOMIC_RELAXED))
			__atomic_add_fetch(&late, 1, __ATOMIC_RELAXED);
		if (pcap_zc_release(shared, &b) != 0)
			fail("pcap_zc_release", "refused");
	}
	return (NULL);
}

static void *
asker(void *arg)
{
	struct pcap_zc_info info;
	uint64_t before = 0;

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		memset(&info, 0, sizeof(info));
		info.size = sizeof(info);
		if (pcap_zc_info(shared, &info) != 0)
			fail("pcap_zc_info", "refused");
		if (info.packets < before)
			fail("pcap_zc_info", "a counter went back");
		before = info.packets;
		usleep(50);
	}
	return (NULL);
}

static void *
waker(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (pcap_zc_wakeup(shared) != 0)
			fail("pcap_zc_wakeup", "refused");
		usleep(700);
	}
	return (NULL);
}

static const char *send_device;

static void *
sender(void *arg)
{
	static const u_char frame[200] =
	    "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x88\xb5";
	struct sockaddr_ll to;
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	int i;

	(void)arg;
	memset(&to, 0, sizeof(to));
	to.sll_family = AF_PACKET;
	to.sll_ifindex = (int)if_nametoindex(send_device);
	to.sll_halen = 6;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < 20; i++)
			if (sendto(fd, frame, sizeof(frame), 0,
			    (struct sockaddr *)&to, sizeof(to)) < 0)
				fail(send_device, "cannot send");
		usleep(100);
	}
	close(fd);
	return (NULL);
}

/*
 * Borrow blocks and hand them on, until there have been enough of them.
 */
static void
borrow(void)
{
	struct pcap_zc_block b;
	u_int count = 0;
	int status;

	while (count < BLOCKS) {
		status = pcap_zc_next(shared, &b, 100);
		switch (status) {

		case 1:
			count++;
			lent++;
			put(&b);
			break;

		case PCAP_ERROR_BREAK:
			woken++;
			break;

		case PCAP_ERROR_ZC_HELD:
			held++;
			usleep(50);
			break;

		case PCAP_ERROR_ZC_EOF:
			return;

		case 0:
			break;

		default:
			fail("pcap_zc_next", pcap_geterr(shared));
		}
	}
}

/*
 * Borrow some more, to close the handle while those are given back.
 */
static int
borrow_last(struct pcap_zc_block *last)
{
	int count = 0, status;

	while (count < LAST) {
		status = pcap_zc_next(shared, &last[count], 100);
		if (status == 1) {
			count++;
			lent++;
		} else if (status == PCAP_ERROR_ZC_HELD ||
		    status == PCAP_ERROR_ZC_EOF)
			break;
		else if (status < 0 && status != PCAP_ERROR_BREAK)
			fail("pcap_zc_next", pcap_geterr(shared));
	}
	return (count);
}

static void
open_it(char **argv)
{
	char errbuf[PCAP_ERRBUF_SIZE];

	if (strcmp(argv[1], "file") == 0) {
		shared = pcap_open_offline(argv[2], errbuf);
		if (shared == NULL)
			fail(argv[2], errbuf);
		return;
	}
	shared = pcap_create(argv[2], errbuf);
	if (shared == NULL)
		fail(argv[2], errbuf);
	pcap_zc_set_block_size(shared, 8192);
	pcap_zc_set_block_timeout(shared, 1);
	pcap_set_buffer_size(shared, 8 * 8192);
	if (pcap_activate(shared) < 0)
		fail(argv[2], pcap_geterr(shared));
}

static void
once(char **argv)
{
	pthread_t releasers[RELEASERS], others[3];
	struct pcap_zc_block last[LAST];
	int i, n = 0, count;

	open_it(argv);
	stop = closing = 0;
	head = tail = 0;
	finished = 0;
	for (i = 0; i < RELEASERS; i++)
		pthread_create(&releasers[i], NULL, releaser,
		    (void *)(uintptr_t)(i + 1));
	pthread_create(&others[n++], NULL, asker, NULL);
	pthread_create(&others[n++], NULL, waker, NULL);
	if (send_device != NULL)
		pthread_create(&others[n++], NULL, sender, NULL);
	borrow();
	count = borrow_last(last);

	/*
	 * These may not use a handle that's closed; the releasers may.
	 */
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < n; i++)
		pthread_join(others[i], NULL);
	for (i = 0; i < count; i++)
		put(&last[i]);
	__atomic_store_n(&closing, 1, __ATOMIC_RELAXED);
	pcap_close(shared);

	pthread_mutex_lock(&lock);
	finished = 1;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (i = 0; i < RELEASERS; i++)
		pthread_join(releasers[i], NULL);
}

int
main(int argc, char **argv)
{
	int rounds;

	if (argc == 5 && strcmp(argv[1], "live") == 0)
		send_device = argv[3];
	else if (argc != 4 || strcmp(argv[1], "file") != 0)
		fail("usage", "live DEVICE SEND-DEVICE ROUNDS | file FILE ROUNDS");
	for (rounds = atoi(argv[argc - 1]); rounds > 0; rounds--)
		once(argv);
	printf("%llu packets in %llu blocks, %llu held, %llu woken, %llu late\n",
	    (unsigned long long)packets, (unsigned long long)lent,
	    (unsigned long long)held, (unsigned long long)woken,
	    (unsigned long long)late);
	return (packets == 0);
}
