"""What is destroyed once a transaction has committed. Recovery finishes it if it is cut off."""

from commands.drivers.base import Storage
from commands.transactions.plan import Plan, TemplateSettled


def clean_up(storage: Storage, plan: Plan) -> bool:
    """Destroy what the plan has put out of use: retired releases, and the former head of its template.

    A head that is gone, or not ours, is left as it is. Raises the errors of the storage.
    """
    for step in plan.steps:
        if step.kind == "retire_release":
            storage.empty_trash(plan.transaction)
        elif step.kind == "build_template" and isinstance(plan.before, TemplateSettled):
            former = (step.template, plan.before.head)
            if former in storage.templates():
                storage.destroy_template(*former)
    return True
