/*
 * What the parts of zcbehave have in common.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pcap/pcap.h>
#include <pcap/zc.h>

/* in seconds */
#define SOON	2.0
#define LATE	20

extern const char *current;	/* the name of the case that's running */
#define CHECK(c) do { if (!(c)) { \
	fprintf(stderr, "%s: line %d: %s is false\n", current, __LINE__, #c); \
	exit(1); } } while (0)
#define CHECK_EQ(a, b) do { long long a_ = (a), b_ = (b); if (a_ != b_) { \
	fprintf(stderr, "%s: line %d: %s is %lld, not %lld\n", current, \
	    __LINE__, #a, a_, b_); exit(1); } } while (0)

struct setup {
	const char *dev;
	int snaplen, timeout, buffer, immediate, mode, block_timeout;
	u_int block;
	int nonblock;
	int promisc;
};
#define DEFAULT { "zcb", 262144, 100, 8*256*1024, 0, PCAP_ZC_MODE_AUTO, 0, 0, 0, 1 }

extern pcap_t *shared;		/* for callbacks, signal handlers and threads */

double	now(void);
double	cpu(void);
int	option(const char *variable, int otherwise);
int	count_fds(void);
void	send_n(int n, int len, u_char mark);
pcap_t	*make(const struct setup *s, int expect);
struct pcap_zc_info info_of(pcap_t *p);
void	set_filter(pcap_t *p, int offset, int value);
void	count_cb(u_char *user, const struct pcap_pkthdr *h,
	    const u_char *bytes);

void	t_mode(void);
void	t_geometry(void);
void	t_immediate(void);
void	t_snaplen(void);
void	t_refilter(void);
void	t_misuse(void);
void	t_deadline(void);
void	t_wakeup(void);
void	t_held(void);
void	t_idle(void);
void	t_order(void);
void	t_mix(void);
void	t_close(void);
void	t_threads(void);
void	t_departure(void);
void	t_viewed(void);
