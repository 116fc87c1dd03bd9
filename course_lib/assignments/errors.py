"""What can be wrong with assignments and submissions."""


class AssignmentError(Exception):
    """Something that an instructor can mend: a master, a folder, an option."""
