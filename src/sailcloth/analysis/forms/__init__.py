"""Forms: what a wizard can say of an object, and the object that says it.

A form is read from an object and written back. One that would lose something of the object is refused with the field that it cannot say,
so that a wizard may edit any object, whoever wrote it. Pure.
"""
