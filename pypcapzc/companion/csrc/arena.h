/* Memory into which a callback of pcap_dispatch(3PCAP) puts packets. */
#ifndef pypcapzc_arena_h
#define pypcapzc_arena_h

#include <sys/time.h>

#include "records.h"

struct pcap_pkthdr {	/* pcap/pcap.h */
	struct timeval	ts;
	uint32_t	caplen;
	uint32_t	len;
};

/* companion.Arena in __init__.py has the same fields. */
struct arena {
	u_char		*data;
	uint64_t	 size;		/* bytes of memory */
	uint64_t	 used;
	struct record	*index;
	uint32_t	 room;		/* records of memory */
	uint32_t	 count;
	uint32_t	 unit;		/* nanoseconds in what tv_usec counts: 1 or 1000 */
	uint32_t	 lost;		/* packets for which there was no memory */
};

/* Have room for so many bytes more; -1 where there is none, or where an offset of 32 bits would not do. */
__attribute__((visibility("hidden")))
int arena_make_room(struct arena *, uint64_t);

#endif
