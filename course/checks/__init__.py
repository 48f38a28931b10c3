"""What a student's code is asked and how answers are judged, for `course check` and `course grade --run`.

A question (questions.py) has inputs and a judge.  The student's functions answer it in a process of their
own (inside.py), where no right answer is; the judge looks at arrays afterwards.  Each homework has

    hw2_adapter.py   which of the student's functions is meant: what a student may put in its place
    hw2_calls.py     how such a function is asked: arrays in, arrays out
    hw2.py           the questions: inputs, what is right, and what each typical mistake would give
"""
