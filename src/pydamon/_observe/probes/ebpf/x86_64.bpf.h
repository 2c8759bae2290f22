/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Page tables of x86-64. See PageTables in linux/page_tables.py, which says the same in Python.
 */

#define PAGE_SHIFT 12
#define USER_PTRS 256 /* entries of the highest level that map user space, the lower half */

#define PRESENT (1ULL << 0)
#define ACCESSED (1ULL << 5)
#define LEAF (1ULL << 7) /* in upper levels: maps a huge page */
/*
 * Without PRESENT: mapped, but the next access faults. Automatic NUMA balancing does this to pages
 * all the time, to see who uses them. Earlier accesses still show.
 */
#define PROTNONE (1ULL << 8)
#define SPECIAL (1ULL << 9) /* the kernel keeps no account of the page: the zero page, devices */
#define TO_TABLE PRESENT    /* an entry that leads to a table */
#define KIND LEAF	    /* what tells a table from a huge page */

static inline int is_leaf(u64 e)
{
	return (e & LEAF) != 0;
}

/* The physical address in an entry; where PRESENT is off, it is inverted. */
static inline u64 physical_address(const struct control *c, u64 e)
{
	return (e & PRESENT ? e : ~e) & c->phys_mask;
}

/* The entry, or 0 if it maps nothing. */
static inline u64 if_mapped(const struct control *c, u64 e)
{
	return e & (PRESENT | PROTNONE) ? e : 0;
}

/* What users may know of an entry. Of one that maps nothing, these bits say nothing either. */
static inline u16 marks_of(const struct control *c, u64 e)
{
	return e & (PRESENT | ACCESSED | LEAF | PROTNONE);
}
