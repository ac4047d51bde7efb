BEGIN TRANSACTION;
CREATE TABLE boot (id TEXT PRIMARY KEY, after INTEGER NOT NULL) STRICT;
INSERT INTO "boot" VALUES('05a0a3c6-05af-494b-bbdb-f0f49fbded97',0);
CREATE TABLE command (
    cid TEXT PRIMARY KEY,
    mid TEXT NOT NULL UNIQUE,
    ses TEXT NOT NULL,
    seq INTEGER NOT NULL,
    op TEXT NOT NULL,
    job_sha256 TEXT NOT NULL,
    frame_sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    result TEXT NOT NULL DEFAULT '',
    result_sha256 TEXT NOT NULL DEFAULT '',
    exp INTEGER NOT NULL,
    runner TEXT NOT NULL DEFAULT '',
    capability TEXT NOT NULL DEFAULT '',
    frame BLOB,
    accepted_at INTEGER NOT NULL,
    reported_at INTEGER
) STRICT;
INSERT INTO "command" VALUES('00000000000000000000000000000000','a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0','0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a',1,'run_job','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','accepted','','',1800000900,'0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','capability',X'66',1800000000,NULL);
INSERT INTO "command" VALUES('01010101010101010101010101010101','a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1','0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a',2,'run_job','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','starting','','',1800000900,'0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','capability',X'66',1800000000,NULL);
INSERT INTO "command" VALUES('02020202020202020202020202020202','a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2','0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a',3,'run_job','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','running','','',1800000900,'0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','capability',X'66',1800000000,NULL);
INSERT INTO "command" VALUES('03030303030303030303030303030303','a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3','0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a',4,'run_job','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','finished','','',1800000900,'0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','capability',X'66',1800000000,NULL);
INSERT INTO "command" VALUES('04040404040404040404040404040404','a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4','0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a',5,'run_job','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','cancelled','','',1800000900,'0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','capability',X'66',1800000000,NULL);
INSERT INTO "command" VALUES('05050505050505050505050505050505','a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5','0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a',6,'run_job','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','expired','','',1800000900,'0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','capability',X'66',1800000000,NULL);
INSERT INTO "command" VALUES('06060606060606060606060606060606','a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6','0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a',7,'run_job','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','unknown','','',1800000900,'0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c','capability',X'66',1800000000,NULL);
CREATE INDEX command_open ON command (state) WHERE reported_at IS NULL;
COMMIT;
