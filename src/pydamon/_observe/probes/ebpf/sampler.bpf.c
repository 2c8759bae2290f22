/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Access checks in the kernel: walk page tables, read accessed bits.
 *
 * User space owns the loop. It writes what to do into the memory-mapped maps below, runs one of the
 * "syscall" programs by BPF_PROG_TEST_RUN, and finds the answer in the same maps. Nothing here
 * writes to the target: a BPF program cannot. User space clears the accessed bits, with
 * process_madvise(MADV_COLD) over the `ranges` that `tick` leaves.
 *
 * Page tables are read by plain loads whose faults give 0, or with bpf_probe_read_kernel, which
 * fails instead of faulting. A table that is freed meanwhile can give a wrong answer, but does no
 * harm.
 *
 * All that depends on the processor is in x86_64.bpf.h, aarch64.bpf.h and linux/page_tables.py. An
 * object is for one processor and one page size; tools/bpf_build.py lists them.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define inline inline __attribute__((always_inline))

/* Numbers from include/uapi/linux/bpf.h. */
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_F_MMAPABLE (1U << 10)
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u32 (*bpf_get_prandom_u32)(void) = (void *)7;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;

/*
 * Reads: a plain load, which the verifier allows of what has a type (Linux 6.2); a helper's call
 * takes several times as long. The loader puts in whether that is so, and the id of a structure
 * that begins with a number; see linker.py.
 */
#ifdef WITHOUT_DIRECT_READS
#define PUT_IN(name) PUT_IN_##name
#define PUT_IN_reads_directly 0
#define PUT_IN_number_type 0
static void *(*bpf_rdonly_cast)(u64 address, u64 type);
#else
#define PUT_IN(name)                                    \
	({                                              \
		u64 value;                              \
		asm("%0 = " #name " ll" : "=r"(value)); \
		value;                                  \
	})
extern void *bpf_rdonly_cast(u64 address, u64 type);
#endif

/*
 * Loops: bpf_loop (5.17), of which the verifier looks at one turn; older kernels have it look at
 * every turn, which takes seconds.
 */
#ifdef WITHOUT_BPF_LOOP
#define LOOP_BODY inline
#define FOR_EACH(count, most, body, context)                                                      \
	for (u32 turn = 0; turn < (most) && turn < (count); turn++)                               \
		if (body(turn, context))                                                          \
			break
#else
#define LOOP_BODY __attribute__((noinline))
static long (*bpf_loop)(u32 count, void *body, void *context, u64 flags) = (void *)181;
#define FOR_EACH(count, most, body, context) bpf_loop(count, body, context, 0)
#endif

/* Read by the loader, which makes the maps; see loader.py. */
struct map_def {
	u32 type, key_size, value_size, max_entries, flags;
};
#define MAP(name, value, entries)                                             \
	struct map_def name SEC("maps") = { BPF_MAP_TYPE_ARRAY, sizeof(u32),   \
					    sizeof(value), entries, BPF_F_MMAPABLE }

#define MAX_BATCH 128 /* turns of a loop where the verifier checks each: 0.1 s for so many */
#define MAX_TABLES 128
#define MAX_FRAMES 1024
#define TURN_FRAMES 8 /* a turn of a loop is a call: let it do more */

/* What the caller asks for, and answers that are one number. */
struct control {
	/* The machine, constant once found. */
	u64 direct_map;	  /* where the kernel maps physical address 0 */
	u64 phys_mask;	  /* the bits of an entry that are a physical address */
	u32 top_shift;	  /* the logarithm of what an entry of the highest level maps */
	u32 task_mm;	  /* offsets in struct task_struct and struct mm_struct */
	u32 task_tgid;
	u32 mm_pgd;
	/* The call. */
	u32 first;	  /* entry to start from */
	u32 count;	  /* entries of this call, at most MAX_BATCH */
	u32 tick;	  /* tick: its number since the entries were written */
	u32 check, pick;  /* tick: check the last samples; choose new ones */
	u32 max_ranges;	  /* tick: how many samples may ask to be cleared */
	u32 n_ranges;	  /* tick: how many ask; verify: how many could not be cleared */
	u32 target;	  /* peek, find_task: which target */
	u32 tgid;	  /* find_task: which process, 0 for whatever the iterator is limited to */
	u32 shift;	  /* scan: the logarithm of what an entry of the wanted tables maps */
	u64 addr;	  /* peek, peek_kernel: where */
	u64 peeked[2];
	/* Where struct page is and what it has; constant once found. */
	u64 vmemmap;	  /* address of the struct page of physical address 0 */
	u64 young;	  /* its flag PG_young, or 0 where nobody else clears accessed bits */
	u32 page_bytes;	  /* sizeof(struct page) */
	u32 page_flags;	  /* offsets in it */
	u32 page_head;
	u32 page_mapcount; /* 0 where it is not known */
	u32 n_copied;	  /* choose: of how many places it copied the table, as scan does */
	u32 seldom;	  /* others take so few accesses that blocks need not be read back */
	/* arm64 only; constant once found. */
	u64 high_mask;	  /* bits of an entry that are the highest bits of a physical address */
	u64 absent_mask;  /* set in entries that are mapped, though not PRESENT */
};
MAP(controls, struct control, 1);

#ifdef AARCH64
#include "aarch64.bpf.h"
#else
#include "x86_64.bpf.h"
#endif

/*
 * How many entries of the highest table map user space, a power of two, where the daemon runs these
 * programs for ordinary users; 0 where root runs them for itself. To the verifier that is a
 * constant, and it drops what follows from other values.
 */
static inline u64 user_entries(void)
{
	return PUT_IN(user_entries);
}

static inline int is_for_users(void)
{
	return user_entries() != 0;
}

/* Logarithms of what an entry of each level maps. */
#define TABLE_BITS (PAGE_SHIFT - 3)
#define PMD_SHIFT (PAGE_SHIFT + TABLE_BITS)
#define PAGE (1ULL << PAGE_SHIFT)
#define PTRS (1 << TABLE_BITS)
#define MAX_LEVELS 5

static inline int is_present(u64 e)
{
	return (e & PRESENT) != 0;
}

static inline int is_accessed(u64 e)
{
	return (e & ACCESSED) != 0;
}

/* Whether another monitor may have cleared the accessed bit of an entry. */
static inline int may_lack_accessed(u64 e)
{
	return !(e & (ACCESSED | SPECIAL));
}

struct target {
	u64 task, mm, pgd; /* kernel addresses */
	u64 bytes;	   /* tick: how many bytes those ranges cover */
	u32 n_ranges;	   /* tick: of those in `ranges`, how many belong to this target */
	u32 gone;	   /* the task no longer has this mm: it exited, or called exec */
};
MAP(targets, struct target, 1);

enum state { IDLE, ARMED, PENDING };

/* One region, and the sample page that stands for it at the moment. */
struct entry {
	u64 start, end;
	u64 addr;
	u32 target;
	u32 state;
	u32 period;	  /* sample when the tick's number... */
	u32 phase;	  /* ...plus this is a multiple of `period` */
	u32 clear_bytes; /* clear blocks of this many bytes: a power of two */
	u32 hits, checks, unobservable;
	u64 low, high;	  /* what is mapped around the region without a gap: blocks stay inside */
	u64 hit[2], miss[2]; /* lowest and highest address of samples with a hit, and without */
};
MAP(entries, struct entry, 1);

/* Ranges for user space to clear: an array of struct iovec, and the entry that asks for each. */
struct range {
	u64 start, length;
};
MAP(ranges, struct range, 1024);
MAP(pending, u32, 1024);

/* What scan copies: the table of the wanted level that maps an address of a target. */
struct place {
	u64 addr;
	u64 target;
};
MAP(places, struct place, MAX_TABLES);

/*
 * The copied tables, and the entry that leads to each. With pages of more than 4 KiB, tables have
 * more entries: then it is the part with the entry for the address.
 */
#define COPIED 512
struct table {
	u64 entries[COPIED];
};
MAP(tables, struct table, MAX_TABLES);
MAP(parents, u64, MAX_TABLES);

/* Physical addresses of the pages that `find_young` checks; afterwards 1 or 0 for each. */
struct frames {
	u64 at[TURN_FRAMES];
};
MAP(frames, struct frames, MAX_FRAMES / TURN_FRAMES);

static inline u64 read_u64(u64 address)
{
	u64 value = 0;

	if (PUT_IN(reads_directly))
		return *(volatile u64 *)bpf_rdonly_cast(address, PUT_IN(number_type));
	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

/* The kernel address of the entry for an address, in the table that another entry leads to. */
static inline u64 entry_at(const struct control *c, u64 parent, u64 addr, u32 shift)
{
	u64 index = (addr >> shift) & (PTRS - 1);

	return c->direct_map + physical_address(c, parent) + index * sizeof(u64);
}

static inline u64 table_entry(const struct control *c, u64 parent, u64 addr, u32 shift)
{
	return read_u64(entry_at(c, parent, addr, shift));
}

/*
 * The entries of the highest table that may be read. For users no more than it has: on arm64 a
 * table of another process may lie behind it, in the same page.
 */
static inline u64 top_entries(void)
{
	u64 entries = user_entries();

	return entries ? entries : USER_PTRS;
}

/* How many of them a copy has. */
static inline u64 top_copied(void)
{
	u64 entries = top_entries();

	return entries < COPIED ? entries : COPIED;
}

/*
 * The place of an address in the highest table: always one of user space, whatever the address is,
 * because the daemon takes addresses from ordinary users.
 */
static inline u64 top_index(u64 addr, u32 shift)
{
	return (addr >> shift) & (top_entries() - 1);
}

/*
 * The entry that leads to the table for an address whose entries map 1 << bottom bytes each, and
 * the logarithm of what that entry maps. If a huge page is mapped there, it is the entry that maps
 * that. 0 if nothing is mapped.
 */
static inline u64 walk_to(const struct control *c, u64 pgd, u64 addr, u32 bottom, u32 *shift)
{
	u32 level = c->top_shift;
	u64 e = read_u64(pgd + top_index(addr, level) * sizeof(u64));

	for (int i = 0; i < MAX_LEVELS - 2; i++) {
		if (level <= bottom + TABLE_BITS || !is_present(e) || is_leaf(e))
			break;
		level -= TABLE_BITS;
		e = table_entry(c, e, addr, level);
	}
	*shift = level;
	return if_mapped(c, e);
}

/*
 * The entry of the second-lowest level for an address: it leads to a table of pages, or maps a huge
 * page. For a page that is larger still it is the entry that maps that. 0 if nothing is mapped.
 */
static inline u64 walk_to_pmd(const struct control *c, u64 pgd, u64 addr, u32 *shift)
{
	return walk_to(c, pgd, addr, PAGE_SHIFT, shift);
}

/* Neighbouring pages that are looked at together. */
#define BLOCK_PAGES 16

/*
 * An entry of the lowest level, and accessed also if a neighbour is with which it is one grain:
 * the processor may mark any of a contiguous group. At most a block is looked at.
 */
static inline u64 with_neighbours(u64 e, u64 at)
{
#ifdef CONTIGUOUS
	u64 pages[BLOCK_PAGES], any = 0;

	if (!(e & CONTIGUOUS) || is_accessed(e))
		return e;
	at &= ~(u64)(sizeof(pages) - 1);
	if (bpf_probe_read_kernel(pages, sizeof(pages), (void *)at))
		return e;
#pragma clang loop unroll(full)
	for (int i = 0; i < BLOCK_PAGES; i++)
		any |= pages[i];
	return e | (any & ACCESSED);
#else
	return e;
#endif
}

/*
 * Whether a table that was read is still the one for an address, to which entry `e` led before: one
 * that was freed meanwhile may hold something else by now. Root may see that, users may not. Marks
 * of an entry may change at any time.
 */
static inline int may_tell(const struct control *c, u64 pgd, u64 addr, u32 bottom, u64 e)
{
	u32 level;

	if (!is_for_users())
		return 1;
	return !((walk_to(c, pgd, addr, bottom, &level) ^ e) &
		 (c->phys_mask | c->high_mask | PRESENT | KIND));
}

/* The entry that maps an address, and the logarithm of the size of its page; 0 if none does. */
static inline u64 walk(const struct control *c, u64 pgd, u64 addr, u32 *shift)
{
	u64 e = walk_to_pmd(c, pgd, addr, shift), at;

	if (!e || is_leaf(e))
		return e;
	*shift = PAGE_SHIFT;
	at = entry_at(c, e, addr, PAGE_SHIFT);
	return if_mapped(c, with_neighbours(read_u64(at), at));
}

/* The kernel's structure of a page. */
static inline u64 struct_page(const struct control *c, u64 physical)
{
	return c->vmemmap + physical / PAGE * c->page_bytes;
}

/* Whether several entries of page tables lead to a page, as far as the kernel tells. */
static inline int is_shared(const struct control *c, u64 page)
{
	/* The field is one less than their number. */
	return c->page_mapcount && (int)read_u64(page + c->page_mapcount) > 0;
}

/*
 * Whether another monitor found a page accessed and cleared its bit: the kernel then sets PG_young
 * on the page, or on the first page of the folio that it is part of. Where several processes map a
 * page, any of them may have accessed it: a sleeping process would seem to use its libraries.
 */
static inline int is_young(const struct control *c, u64 physical)
{
	u64 page = struct_page(c, physical);
	u64 head = read_u64(page + c->page_head);

	if (is_shared(c, page))
		return 0;
	/*
	 * In all pages of a folio but the first, this is the address of the first one, plus 1. Newer
	 * kernels (7.x) have a mask here that turns the page's own address into that; taken as an
	 * address, the mask would lie behind all pages.
	 */
	if (head & 1) {
		head &= ~1ULL;
		page = head < page ? head : head & page;
	}
	return (read_u64(page + c->page_flags) & c->young) != 0;
}

/* An entry, which maps 1 << shift bytes, as it was before another monitor cleared its bit. */
static inline u64 read_back(const struct control *c, u64 e, u32 shift)
{
	u64 physical;

	if (!c->young || !e || !may_lack_accessed(e))
		return e;
	physical = physical_address(c, e);
	return is_young(c, physical >> shift << shift) ? e | ACCESSED : e;
}

/* The same as `walk`, and accessed also if only another monitor saw the access. */
static inline u64 look_at(const struct control *c, u64 pgd, u64 addr, u32 *shift)
{
	u64 e = walk(c, pgd, addr, shift);

	return read_back(c, e, *shift);
}

static inline struct control *get_control(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&controls, &zero);
}

/* A target whose task still has the same address space. */
static inline struct target *get_target(const struct control *c, u32 index)
{
	struct target *t = bpf_map_lookup_elem(&targets, &index);

	if (!t || t->gone || !t->pgd)
		return 0;
	if (read_u64(t->task + c->task_mm) != t->mm) {
		t->gone = 1;
		return 0;
	}
	return t;
}

static inline void widen(u64 span[2], u64 addr)
{
	if (addr < span[0])
		span[0] = addr;
	if (addr > span[1])
		span[1] = addr;
}

static inline void check(struct entry *e, u64 pte)
{
	e->checks++;
	if (is_accessed(pte)) {
		e->hits++;
		widen(e->hit, e->addr);
	} else {
		widen(e->miss, e->addr);
	}
}

/*
 * Ask user space to clear what is around an address, for the region of that index: so many bytes,
 * of what is mapped around its sample without a gap, from low to high. Huge pages, of 1 << shift
 * bytes, must be cleared whole.
 */
static inline int ask_to_clear(struct control *c, struct target *t, u32 index, u64 addr, u32 shift,
			       u32 clear_bytes, u64 sample, u64 low, u64 high)
{
	u64 length = shift == PAGE_SHIFT ? clear_bytes : 1ULL << shift;
	u64 from = addr & ~(length - 1), to = from + length;
	u32 n = c->n_ranges;
	struct range *range;
	u32 *who;

	if (sample >= low && sample < high) {
		from = from < low ? low : from;
		to = to > high ? high : to;
	}
	if (n >= c->max_ranges)
		return 0;
	range = bpf_map_lookup_elem(&ranges, &n);
	who = bpf_map_lookup_elem(&pending, &n);
	if (!range || !who)
		return 0;
	range->start = from;
	range->length = to - from;
	*who = index;
	c->n_ranges = n + 1;
	t->n_ranges++;
	t->bytes += to - from;
	return 1;
}

static inline void pick(struct control *c, struct target *t, struct entry *e, u32 index)
{
	u64 pages = (e->end - e->start) / PAGE;
	u64 random = ((u64)bpf_get_prandom_u32() << 32) | bpf_get_prandom_u32();
	u32 shift;

	e->state = IDLE;
	if (!pages || !e->period || (c->tick + e->phase) % e->period)
		return;
	e->addr = e->start + random % pages * PAGE;
	if (!is_accessed(look_at(c, t->pgd, e->addr, &shift)))
		e->state = ARMED;
	else if (ask_to_clear(c, t, index, e->addr, shift, e->clear_bytes, e->addr, e->low, e->high))
		e->state = PENDING;
}

/* What the body of a loop knows. */
struct pace;
struct loop {
	struct control *c;
	struct pace *p;
	u32 target; /* of the turn before, plus 1: regions of a target come in runs */
	u32 look;
};

/* The page table of a target; 0 where its task has another address space by now. */
static inline u64 table_of(struct loop *l, u32 index)
{
	struct target *t;

	if (l->target == index + 1) {
		t = bpf_map_lookup_elem(&targets, &index);
		return t && !t->gone ? t->pgd : 0;
	}
	l->target = index + 1;
	t = get_target(l->c, index);
	return t ? t->pgd : 0;
}

static LOOP_BODY int tick_entry(u32 turn, struct loop *l)
{
	u32 index = l->c->first + turn, target, shift;
	struct entry *e = bpf_map_lookup_elem(&entries, &index);
	struct target *t;
	u64 pgd;

	if (!e)
		return 1;
	target = e->target;
	pgd = table_of(l, target);
	t = bpf_map_lookup_elem(&targets, &target);
	if (!pgd || !t) {
		e->state = IDLE;
		return 0;
	}
	if (l->c->check && e->state == ARMED)
		check(e, look_at(l->c, pgd, e->addr, &shift));
	if (l->c->pick)
		pick(l->c, t, e, index);
	else
		e->state = IDLE;
	return 0;
}

/* One sampling interval: check the samples of `count` entries, and choose new ones. */
SEC("syscall") int tick(void *ctx)
{
	struct control *c = get_control();
	struct loop l = { .c = c };

	if (!c)
		return -1;
	FOR_EACH(c->count, MAX_BATCH, tick_entry, &l);
	return 0;
}

static LOOP_BODY int verify_sample(u32 turn, struct loop *l)
{
	u32 slot = l->c->first + turn, n = l->c->n_ranges, shift, *index, *doubt;
	struct entry *e;
	u64 pgd;

	index = bpf_map_lookup_elem(&pending, &slot);
	if (!index)
		return 1;
	e = bpf_map_lookup_elem(&entries, index);
	if (!e || e->state != PENDING)
		return 0;
	pgd = table_of(l, e->target);
	if (!pgd) {
		e->state = IDLE;
		return 0;
	}
	if (!is_accessed(look_at(l->c, pgd, e->addr, &shift))) {
		e->state = ARMED;
		return 0;
	}
	doubt = bpf_map_lookup_elem(&pending, &n);
	if (!doubt)
		return 1;
	*doubt = *index;
	l->c->n_ranges = n + 1;
	return 0;
}

/*
 * After the clear: arm the samples that are not accessed any more. The others were touched again at
 * once, or could not be cleared; user space must find out which. They are left at the front of
 * `pending`.
 */
SEC("syscall") int verify(void *ctx)
{
	struct control *c = get_control();
	struct loop l = { .c = c };

	if (!c)
		return -1;
	FOR_EACH(c->count, MAX_BATCH, verify_sample, &l);
	return 0;
}

/* The value in `parents` of a place whose target is gone. */
#define GONE (~0ULL)

#ifndef WITHOUT_BPF_LOOP
#include "users.bpf.h"
#else
static inline u64 for_the_user(const struct control *c, struct table *table, u64 e, u32 level)
{
	return e;
}
#endif

static inline int copy_one(u32 slot, struct loop *l)
{
	struct place *place = bpf_map_lookup_elem(&places, &slot);
	struct table *table = bpf_map_lookup_elem(&tables, &slot);
	u64 *parent = bpf_map_lookup_elem(&parents, &slot), e, at, pgd;
	struct control *c = l->c;
	u32 level;

	if (!place || !table || !parent)
		return 1;
	pgd = table_of(l, place->target);
	if (!pgd) {
		*parent = GONE;
		return 0;
	}
	if (c->shift >= c->top_shift) {
		/* The rest of the highest table may map the kernel. */
		at = pgd + (top_index(place->addr, c->shift) & ~(u64)(COPIED - 1)) * sizeof(u64);
		*parent = TO_TABLE;
		if (bpf_probe_read_kernel(table, top_copied() * sizeof(u64), (void *)at))
			*parent = 0;
		*parent = for_the_user(c, table, *parent, c->shift);
		return 0;
	}
	e = walk_to(c, pgd, place->addr, c->shift, &level);
	at = entry_at(c, e, place->addr, c->shift) & ~(u64)(sizeof(*table) - 1);
	if (is_present(e) && !is_leaf(e)) {
		if (bpf_probe_read_kernel(table, sizeof(*table), (void *)at))
			e = 0;
		if (!may_tell(c, pgd, place->addr, c->shift, e)) {
			/* A read that fails fills its place with zeros. */
			bpf_probe_read_kernel(table, sizeof(*table), 0);
			e = 0;
		}
	}
	*parent = for_the_user(c, table, e, level);
	return 0;
}

static LOOP_BODY int copy_table(u32 slot, struct loop *l)
{
	return copy_one(slot, l);
}

/* Copy `count` tables of page tables, at one level, of the listed `places`. */
SEC("syscall") int scan(void *ctx)
{
	struct control *c = get_control();
	struct loop l = { .c = c };

	if (!c)
		return -1;
	FOR_EACH(c->count, MAX_TABLES, copy_table, &l);
#ifndef WITHOUT_BPF_LOOP
	mark(&l, c->count);
#endif
	return 0;
}

static LOOP_BODY int look_for_young(u32 slot, struct loop *l)
{
	struct frames *turn = bpf_map_lookup_elem(&frames, &slot);

	if (!turn)
		return 1;
#pragma clang loop unroll(full)
	for (int i = 0; i < TURN_FRAMES; i++)
		turn->at[i] = is_young(l->c, turn->at[i]);
	return 0;
}

/* Which of `count` pages in `frames` another monitor found accessed. */
SEC("syscall") int find_young(void *ctx)
{
	struct control *c = get_control();
	struct loop l = { .c = c };

	if (!c)
		return -1;
	FOR_EACH((c->count + TURN_FRAMES - 1) / TURN_FRAMES, MAX_FRAMES / TURN_FRAMES,
		 look_for_young, &l);
	return 0;
}

/* Read memory of a target through the direct map, to test whether the map is where we think. */
SEC("syscall") int peek(void *ctx)
{
	struct control *c = get_control();
	struct target *t;
	u64 e, at;
	u32 shift;

	if (!c)
		return -1;
	t = get_target(c, c->target);
	if (!t)
		return -1;
	e = walk(c, t->pgd, c->addr, &shift);
	if (!e || shift != PAGE_SHIFT)
		return -1;
	at = c->direct_map + physical_address(c, e) + (c->addr & (PAGE - 1));
	c->peeked[0] = read_u64(at);
	c->peeked[1] = read_u64(at + sizeof(u64));
	return 0;
}

/* Read memory of the kernel, to find where struct page is. */
SEC("syscall") int peek_kernel(void *ctx)
{
	struct control *c = get_control();

	if (!c)
		return -1;
	c->peeked[0] = 0;
	return bpf_probe_read_kernel(c->peeked, sizeof(u64), (void *)c->addr);
}

/*
 * Find the page table of a process. A task iterator can do so since Linux 5.8, in any pid
 * namespace; the kfunc bpf_task_from_pid needs 6.2, and pids of the initial namespace. Any thread
 * will do; the first may have exited.
 */
struct task_iter {
	void *meta;
	void *task;
};
SEC("iter/task") int find_task(struct task_iter *ctx)
{
	struct control *c = get_control();
	u64 task = (u64)ctx->task, mm;
	struct target *t;
	u32 index;

	if (!c || !task)
		return 0;
	if (c->tgid && (u32)read_u64(task + c->task_tgid) != c->tgid)
		return 0;
	mm = read_u64(task + c->task_mm);
	index = c->target;
	t = bpf_map_lookup_elem(&targets, &index);
	if (!mm || !t || t->pgd)
		return 0;
	t->task = task;
	t->mm = mm;
	t->pgd = read_u64(mm + c->mm_pgd);
	t->gone = 0;
	return 0;
}

#ifndef WITHOUT_BPF_LOOP
#include "survival.bpf.h"
#include "owner.bpf.h"
#endif

/* Its helpers are for programs under a licence compatible with the kernel's. */
char _license[] SEC("license") = "Dual MIT/GPL";
