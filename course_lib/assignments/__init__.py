"""Assignments: masters in, students' notebooks out; submissions in, scores and feedback out.

Needs the extra 'assignments' (nbgrader and jupytext), and the folder ``exercises/`` of the
course's repository: the masters hold the solutions, so they are no part of the package.
"""
