-- A comparison has rows of a method less a part.
COMMENT ON COLUMN comparisons.method IS 'runs.method, and the part that is left out of it, as kd3 --without weighting';
COMMENT ON COLUMN compared.method IS 'comparisons.method';
