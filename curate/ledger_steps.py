"""The steps of a ledger, in SQL: who is barred, who has a place, who is taken and why."""

from __future__ import annotations

from curate.diversity.base import CANDIDATES_A_PICK

# `barred` holds what rules an image out whatever its score is. Of a group of near-duplicates the
# best that no filter and no threshold rules out stays, so a group is never lost as a whole.
MARK = """
CREATE VIEW judged AS
    SELECT p.*, threshold::FLOAT AS threshold,
           threshold IS NULL OR score > threshold::FLOAT AS passed
    FROM pool p JOIN thresholds USING (pseudo_label);
CREATE TABLE barred AS
WITH grouped AS (
    SELECT group_id, image_id, score FROM groups JOIN judged USING (image_id)
         ANTI JOIN filtered USING (image_id) WHERE passed
), kept AS (
    SELECT group_id, first(image_id ORDER BY score DESC, image_id) AS keeper
    FROM grouped GROUP BY group_id
)
SELECT image_id, filter AS barrier FROM filtered
UNION ALL
SELECT image_id, 'near-duplicate of ' || keeper FROM grouped JOIN kept USING (group_id)
WHERE keeper <> image_id;
CREATE VIEW marked AS
    SELECT j.* EXCLUDE (passed), {components} AS components,
           CASE WHEN barrier IS NOT NULL THEN barrier
                WHEN NOT passed THEN 'below class threshold' END AS barrier
    FROM judged j LEFT JOIN barred USING (image_id);
"""

# The best of all classes, as rows of one column.
BEST = """(
    SELECT pseudo_label FROM (
        SELECT pseudo_label, score, image_id, row_number() OVER (
            PARTITION BY pseudo_label ORDER BY score DESC, image_id) AS place
        FROM marked WHERE barrier IS NULL
    ) WHERE {per_class}::BIGINT IS NULL OR place <= {per_class}
    ORDER BY score DESC, image_id LIMIT {budget})
"""

BY_SCORE = {"picks": "", "within": "quota IS NULL OR place <= quota", "passed": "", "picked": ""}
# `pick` is 0 for candidates that were passed over, NULL for images that were none: all of a class
# that has no more than its quota, and those after the best of the others.
BY_PICKS = {
    "picks": "LEFT JOIN picks USING (image_id)",
    "within": "coalesce(pick > 0, place <= quota)",
    "passed": f"""
            WHEN pick = 0 THEN printf('less diverse: %.3f to selected %d, place %d of %d',
                                      cosine, nearest, place, quota)
            WHEN NOT within_quota AND quota > 0
            THEN printf('no candidate for diversity: place %d, after the best %d',
                        place, {CANDIDATES_A_PICK} * quota)""",
}

# Weights have a mean of 1 over what is taken. Sums of integers do not depend on their order.
BY_IMPORTANCE = """importance / (
           SELECT avg((importance * 1048576)::BIGINT) / 1048576 FROM limited WHERE taken)"""

PLACE_IN_CLASS = "row_number() OVER (PARTITION BY pseudo_label ORDER BY score DESC, image_id)"

# `place` is that in the class, `overall` that among those whose class has room. The order by image
# makes the ledger the same whatever the order of the pool, and one image's row quick to find.
DECIDE = """
CREATE TABLE placed AS
    SELECT m.* EXCLUDE (components, barrier), quota, {place}::BIGINT AS place
    FROM marked m JOIN quotas USING (pseudo_label) WHERE barrier IS NULL;
CREATE TABLE ordered AS
WITH limited AS (SELECT *, {within} AS within_quota FROM placed {picks})
SELECT * FROM (
    SELECT *, row_number() OVER (ORDER BY score DESC, image_id) AS overall, NULL AS barrier
    FROM limited WHERE within_quota
    UNION ALL BY NAME SELECT * FROM limited WHERE NOT within_quota
    UNION ALL BY NAME SELECT * EXCLUDE (passed), false AS eligible
    FROM judged LEFT JOIN barred USING (image_id) WHERE barrier IS NOT NULL OR NOT passed
) ORDER BY image_id;
DROP TABLE placed;
CREATE VIEW decided AS
WITH limited AS (
    SELECT * REPLACE (coalesce(eligible, true) AS eligible), {budget}::BIGINT AS budget,
           coalesce(overall <= coalesce({budget}, overall), false) AS taken FROM ordered
)
SELECT image_id, pseudo_label, score, threshold, {components} AS components,
       ({weight})::FLOAT AS weight, eligible, taken AS selected,
       CASE WHEN taken THEN overall::INTEGER END AS "rank",
       CASE WHEN barrier IS NOT NULL THEN barrier
            WHEN NOT eligible
            THEN printf('below class threshold %.3f <= %.3f', score, threshold){passed}
            WHEN NOT within_quota THEN printf('class quota full: place %d of %d', place, quota)
            WHEN NOT taken THEN printf('budget full: place %d of %d', overall, budget){picked}
            WHEN threshold IS NOT NULL
            THEN printf('selected: above class threshold %.3f > %.3f', score, threshold)
            ELSE 'selected: score within the budget' END AS reason
FROM limited
"""
