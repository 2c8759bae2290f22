/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which folios of the page cache read(2) and its relatives use, and after how long again.
 *
 * Runs at the entry of folio_mark_accessed(), which the kernel calls for each folio that a read
 * takes from the page cache. A folio is followed if a hash of its place (inode and index) lies below
 * a threshold: spatial sampling (SHARDS, FAST 2015). A place survives eviction, and a folio
 * does not. User space lowers the threshold when too many folios are followed, or are read too
 * often.
 *
 * Members of the kernel's structures have offsets of at least 0x4000 here: members.py puts
 * those of the running kernel, which layout.py finds, in their place, so that each read is a plain
 * load.
 */

typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define inline inline __attribute__((always_inline))

/* Numbers from include/uapi/linux/bpf.h. */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_NOEXIST 1
#define BPF_F_MMAPABLE (1U << 10)
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value,
				   u64 flags) = (void *)2;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;

/* Read by the loader, which makes the maps; see loader.py. */
struct map_def {
	u32 type, key_size, value_size, max_entries, flags;
};

struct control {
	u64 threshold;	    /* hashes of 32 bits below it are followed: 2^32 follows all */
	u64 head;	    /* the flag PG_head of a folio of several pages */
	u64 swapbacked;	    /* PG_swapbacked: anonymous memory and tmpfs, which is no cache */
	u32 has_large_mapcount;
	u32 charge;	    /* how to find the cgroup: enum charge */
	u32 css_cgroup;	    /* offset in struct mem_cgroup of the pointer to its cgroup */
	u32 cgroup_kn;	    /* and of the cgroup's pointer to its directory */
	u32 kn_id;	    /* and of the directory's inode number */
	u32 objcg_memcg;    /* offset in struct obj_cgroup of the pointer to its mem_cgroup */
	u64 followed;	    /* how many folios are followed: user space subtracts what it deletes */
	u64 limit;	    /* at so many, the threshold halves */
	u64 step;	    /* and the limit rises by this, until user space has deleted folios */
	u64 page_bytes;
	u64 weight;	    /* 256 times how many folios each followed one stands for */
};
enum charge { CHARGE_READER, CHARGE_MEMCG, CHARGE_OBJCG };
struct map_def controls SEC("maps") = { BPF_MAP_TYPE_ARRAY, sizeof(u32), sizeof(struct control), 1,
					BPF_F_MMAPABLE };

/* Counters of one CPU, on a cache line of their own. */
struct counters {
	u64 seen;	/* folios that were marked accessed */
	u64 sampled;	/* of them, those that are followed */
	u64 mapped;	/* sampled, but mapped by a process: their use shows in page tables */
	u64 full;	/* not followed, because there was no room */
	u64 counted;	/* sampled, and read for the first time or after a while */
	u64 unused[3];
};
struct map_def cpus SEC("maps") = { BPF_MAP_TYPE_ARRAY, sizeof(u32), sizeof(struct counters), 1,
				    BPF_F_MMAPABLE };

struct place {
	u64 inode, index;
	u32 device, hash;
};
struct followed {
	u64 last_ns;  /* when it was last read */
	u64 cgroup;   /* who it is charged to */
	u64 bytes;
};
struct map_def places SEC("maps") = { BPF_MAP_TYPE_HASH, sizeof(struct place),
				      sizeof(struct followed), 1, 0 };

/* Folios that were read again, by how long they had been idle: estimates of all, times 256. */
struct idle {
	u64 cgroup;
	u64 bucket;
};
struct reuse {
	u64 folios, bytes;
};
struct map_def reuses SEC("maps") = { BPF_MAP_TYPE_HASH, sizeof(struct idle), sizeof(struct reuse),
				      1, 0 };

#define FIRST 255	/* the bucket of folios that had not been read before */
#define TICK_SHIFT 18	/* idle times are counted in units of 2^18 ns = 0.26 ms */
#define SHORT_NS 100000000ULL /* after a shorter idle time a read is not counted: hot folios */
#define SETTLED_NS 1000000000ULL /* a cgroup is looked up again after this time */

#define FIELD(number, type, name)                                                               \
	struct {                                                                                \
		char before_##name[0x4000 + 8 * (number)];                                      \
		type name;                                                                      \
	}

struct super_block {
	union {
		FIELD(0, u32, s_dev);
	};
};
struct inode {
	union {
		FIELD(1, u64, i_ino);
		FIELD(2, struct super_block *, i_sb);
	};
};
struct address_space {
	union {
		FIELD(3, struct inode *, host);
	};
};
struct folio {
	union {
		FIELD(4, u64, flags);
		FIELD(5, struct address_space *, mapping);
		FIELD(6, u64, index);
		FIELD(7, u64, memcg_data);
		FIELD(8, int, mapcount);
		FIELD(9, int, large_mapcount);
		FIELD(10, u32, nr_pages);
	};
};

static inline u64 read_u64(u64 address)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

/* 32 bits that look random, of any place (the finalizer of MurmurHash3). */
static inline u32 hash_of(u64 inode, u64 index)
{
	u64 h = index * 0x9e3779b97f4a7c15ULL + inode * 0xc2b2ae3d27d4eb4fULL;

	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h >> 32;
}

static inline u32 log2_of(u64 x)
{
	u32 n = 0;

	if (x >> 32) { n += 32; x >>= 32; }
	if (x >> 16) { n += 16; x >>= 16; }
	if (x >> 8) { n += 8; x >>= 8; }
	if (x >> 4) { n += 4; x >>= 4; }
	if (x >> 2) { n += 2; x >>= 2; }
	return n + (x >> 1);
}

/* 4 buckets for each doubling of the idle time. */
static inline u64 bucket_of(u64 idle_ns)
{
	u64 ticks = idle_ns >> TICK_SHIFT;
	u32 octave;

	if (ticks < 4)
		return 0;
	octave = log2_of(ticks);
	return (octave - 2) * 4 + (ticks >> (octave - 2) & 3);
}

/* The cgroup that pays for a folio: the inode number of its directory. */
static inline u64 cgroup_of(const struct control *c, u64 memcg)
{
	memcg &= ~7ULL;
	if (c->charge == CHARGE_READER)
		return bpf_get_current_cgroup_id();
	if (c->charge == CHARGE_OBJCG)
		memcg = read_u64(memcg + c->objcg_memcg);
	if (!memcg)
		return 0;
	return read_u64(read_u64(read_u64(memcg + c->css_cgroup) + c->cgroup_kn) + c->kn_id);
}

static inline void add(const struct control *c, u64 cgroup, u64 bucket, u64 bytes)
{
	struct idle key = { .cgroup = cgroup, .bucket = bucket };
	u64 weight = c->weight;
	struct reuse first = { .folios = weight, .bytes = bytes * weight };
	struct reuse *reuse = bpf_map_lookup_elem(&reuses, &key);

	if (reuse) {
		__sync_fetch_and_add(&reuse->folios, first.folios);
		__sync_fetch_and_add(&reuse->bytes, first.bytes);
	} else {
		bpf_map_update_elem(&reuses, &key, &first, BPF_NOEXIST);
	}
}

/* Count one more; a burst of new folios must not fill the map before user space looks. */
static inline void count_followed(struct control *c)
{
	u64 followed = __sync_fetch_and_add(&c->followed, 1) + 1;

	if (followed >= c->limit) {
		c->threshold /= 2;
		c->weight *= 2;
		c->limit = followed + c->step;
	}
}

static inline void follow(struct control *c, struct counters *n, struct folio *folio,
			  struct place *place, u64 bytes)
{
	u64 now = bpf_ktime_get_ns(), idle;
	struct followed *old = bpf_map_lookup_elem(&places, place);
	struct followed new = { .last_ns = now, .bytes = bytes };

	if (!old) {
		new.cgroup = cgroup_of(c, folio->memcg_data);
		if (bpf_map_update_elem(&places, place, &new, BPF_NOEXIST)) {
			n->full++;
			return;
		}
		count_followed(c);
		n->counted++;
		add(c, new.cgroup, FIRST, bytes);
		return;
	}
	idle = now - old->last_ns;
	old->last_ns = now;
	if (idle < SHORT_NS)
		return;
	if (idle > SETTLED_NS)
		old->cgroup = cgroup_of(c, folio->memcg_data);
	old->bytes = bytes;
	n->counted++;
	add(c, old->cgroup, bucket_of(idle), bytes);
}

SEC("fentry/folio_mark_accessed") int on_access(u64 *arguments)
{
	struct folio *folio = (struct folio *)arguments[0];
	u32 zero = 0, cpu = bpf_get_smp_processor_id();
	struct control *c = bpf_map_lookup_elem(&controls, &zero);
	struct counters *n = bpf_map_lookup_elem(&cpus, &cpu);
	struct place place = {};
	struct address_space *mapping;
	struct inode *inode;
	u64 flags = folio->flags, bytes;

	if (!c || !n)
		return 0;
	n->seen++;
	if (flags & c->swapbacked)
		return 0;
	mapping = folio->mapping;
	if (!mapping)
		return 0;
	inode = mapping->host;
	if (!inode)
		return 0;
	place.inode = inode->i_ino;
	place.index = folio->index;
	place.hash = hash_of(place.inode, place.index);
	if (place.hash >= c->threshold)
		return 0;
	place.device = inode->i_sb->s_dev;
	bytes = c->page_bytes;
	if (flags & c->head) {
		bytes *= folio->nr_pages;
		if (c->has_large_mapcount && folio->large_mapcount >= 0) {
			n->mapped++;
			return 0;
		}
	}
	if (folio->mapcount >= 0) {
		n->mapped++;
		return 0;
	}
	n->sampled++;
	follow(c, n, folio, &place, bytes);
	return 0;
}
