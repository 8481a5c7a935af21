"""What is destroyed once a transaction has committed. Recovery finishes it if it is cut off."""

from commands.drivers.base import Storage
from commands.transactions.plan import Plan, TemplateSettled


def clean_up(storage: Storage, plan: Plan) -> bool:
    """Destroy what the plan has put out of use: retired and forgotten releases, and the former head of its template.

    Of a template that was built anew, a head that is gone, or not ours, is left as it is. Raises DriverError.
    """
    for step in plan.steps:
        if step.kind == "retire_release":
            storage.empty_trash(plan.transaction)
        elif step.kind == "forget_release":
            storage.destroy_release(step.release)
        elif step.kind == "build_template" and step.base is not None:
            storage.destroy_template(step.template, step.base)
        elif step.kind == "build_template" and isinstance(plan.before, TemplateSettled):
            former = (step.template, plan.before.head)
            if former in storage.templates():  # the template may have been built anew because its head was lost
                storage.destroy_template(*former)
    return True
