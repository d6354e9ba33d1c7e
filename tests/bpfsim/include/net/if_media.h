/*
 * The part of FreeBSD's <net/if_media.h> that libpcap looks at: whether an
 * interface is wireless, and whether it has a link.
 */
#ifndef _NET_IF_MEDIA_H_
#define _NET_IF_MEDIA_H_

#include <net/if.h>

struct ifmediareq {
	char	ifm_name[IFNAMSIZ];
	int	ifm_current;
	int	ifm_mask;
	int	ifm_status;
	int	ifm_active;
	int	ifm_count;	/* how many there are, or there is room for */
	int	*ifm_ulist;
};

#define IFM_ETHER		0x00000020
#define IFM_IEEE80211		0x00000080
#define IFM_NMASK		0x000000e0
#define IFM_TMASK		0x0000001f
#define IFM_GMASK		0x0ff00000
#define IFM_TYPE(x)		((x) & IFM_NMASK)
#define IFM_SUBTYPE(x)		((x) & IFM_TMASK)
#define IFM_AUTO		0
#define IFM_IEEE80211_MONITOR	0x00002000
#define IFM_AVALID		0x00000001
#define IFM_ACTIVE		0x00000002

/* Where Linux keeps an int in its union. */
#define ifr_media		ifr_ifru.ifru_ivalue

#endif /* _NET_IF_MEDIA_H_ */
