"""Where an image was first found, and what came with it there, in SQL."""

from __future__ import annotations

# `image_id`, `uri` and `metadata` of the place with the smallest uri. Few images have more than
# one place, so few captions have to be compared and held in memory. In a struct, for arg_min
# passes over a place that nothing came with.
FIRST_PLACES = """(
    WITH copied AS (SELECT image_id FROM locations GROUP BY image_id HAVING count(*) > 1)
    SELECT image_id, uri, metadata FROM locations ANTI JOIN copied USING (image_id)
    UNION ALL
    SELECT image_id, min(uri) AS uri, arg_min({'of': metadata}, uri)['of'] AS metadata
    FROM locations SEMI JOIN copied USING (image_id) GROUP BY image_id
)"""
