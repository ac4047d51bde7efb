"""What can be wrong with a backup, as whoever restores it would act on it.

HubError
├── BackupDamaged       the file is cut or altered, or none of ours; nothing was written
└── BackupUnfit         the file is sound, and does not fit here: another key, a newer release, a home that is in use
"""

from hub.errors import HubError


class BackupDamaged(HubError):
    code, exit_status = "BACKUP_DAMAGED", 1


class BackupUnfit(HubError):
    code, status, exit_status = "BACKUP_UNFIT", 409, 2
