ALTER TABLE runs ALTER COLUMN manifest DROP NOT NULL;
COMMENT ON COLUMN runs.manifest IS 'manifests.name that it trained on, or whose settings its rounds went by; NULL of a method that makes its own images';
COMMENT ON COLUMN runs.method IS 'kd, kd3, ..., dafl and others that make their own images, or a plugin''s';
COMMENT ON COLUMN runs_with_manifest.manifest IS 'manifests.name; with rounds, the one whose settings they went by; NULL of a method that makes its own images';
COMMENT ON COLUMN runs_with_manifest.method IS 'kd, kd3, ..., dafl and others that make their own images, or a plugin''s';
